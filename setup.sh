#!/bin/sh
# Make .venv, install the requirements, and install FFmpeg where it is missing. Used by `make setup`.
set -eu
python=${PYTHON:-python3}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else return 1; fi
}

apt_install() {
    command -v apt-get >/dev/null || return 1
    as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@"
}

command -v "$python" >/dev/null || {
    echo "error: no '$python' here; GenreAST needs Python 3.11 or newer. Name one: make setup PYTHON=python3.11" >&2
    exit 2
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $("$python" --version) found; GenreAST needs Python 3.11 or newer. Name one: make setup PYTHON=python3.11" >&2
    exit 2
}

if ! command -v ffmpeg >/dev/null; then
    echo "FFmpeg is missing: installing it" >&2
    apt_install ffmpeg >&2 || { command -v brew >/dev/null && brew install ffmpeg >&2; } || {
        echo "error: FFmpeg is missing and could not be installed; install the package 'ffmpeg' (with its shared libraries), then run this again" >&2
        exit 2
    }
fi

# Debian ships Python without ensurepip; the package python3-venv brings it.
"$python" -c 'import ensurepip' 2>/dev/null || apt_install python3-venv >&2 || {
    echo "error: Python's venv module is missing; install the package 'python3-venv', then run this again" >&2
    exit 2
}

# A setup that was stopped may have left a .venv without pip.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
touch .venv/installed
