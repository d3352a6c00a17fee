.PHONY: help setup demo test lint bench bench-quick
.DEFAULT_GOAL := help
PY := .venv/bin/python

help:
	@echo "make setup        make .venv, install the requirements, and FFmpeg where it is missing"
	@echo "make demo         the whole path on made songs, in minutes; your own: make demo RAW=path/to/songs"
	@echo "make test         run the tests"
	@echo "make lint         check the style"
	@echo "make bench        measure this project beside what you would use instead (long)"
	@echo "make bench-quick  the same, in short"

setup: .venv/installed

.venv/installed: requirements.txt requirements-dev.txt setup.sh
	@sh setup.sh

demo: setup
	@$(PY) examples/demo.py $(if $(RAW),--raw_dir "$(RAW)")

# Two files at once, on one thread each (tests/conftest.py).
test: setup
	@$(PY) -m pytest --numprocesses 2 --dist loadfile

lint: setup
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

bench: setup
	@$(PY) -m benchmarks.run

bench-quick: setup
	@$(PY) -m benchmarks.run --quick
