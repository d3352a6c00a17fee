"""Imports go one way, scripts are thin, and the README names every file."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

# Each module imports only from those before it.
ROOMS = """
    garbage errors tables allocator audio features precision config arguments pages
    songs tags genres coverage splits cuts fingerprint clips preloaded song_table earlier
    audiofolder seals workers work_folder duplicates groups dataset_card clip_files assembly
    preparation
    imbalance augment batches shards streaming checkpoint held_out model recipe_checks recipe
    loading metrics attention last_layer optimizer training probe memory progress resuming
    run_folder model_folder fine_tune
    launch excerpts windows packed inference answers
    png summary timeline bootstrap calibration evaluation comparison figures report
    licenses staging privacy model_card score_check onnx_export hub_errors destination hub
    hub_dataset hub_space publishing
"""
ORDER = ROOMS.split()


def imported(path: Path) -> set[str]:
    """The package's modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("genreast"):
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {parts[1] for parts in names if parts[0] == "genreast" and len(parts) > 1}
    return found - {"__version__"}


MODULES = sorted(path for path in (ROOT / "genreast").glob("*.py") if path.stem != "__init__")
SCRIPTS = sorted(ROOT.glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_only_those_before_it(path):
    assert path.stem in ORDER, "give the module its place in ORDER"
    before = set(ORDER[: ORDER.index(path.stem)])
    assert imported(path) <= before


def test_the_modules_that_stand_apart_do():
    """A model folder is enough to predict, and publishing needs no training code."""

    def reach(name: str) -> set[str]:
        direct = imported(ROOT / "genreast" / f"{name}.py")
        return direct.union(*(reach(module) for module in direct)) if direct else set()

    assert not reach("inference") & {"config", "arguments", "training", "audiofolder", "metrics"}
    for name in ("hub", "model_card"):
        assert not reach(name) & {"training", "audiofolder"}
    for name in ("genres", "clips", "workers"):
        assert not reach(name) & {"model", "training", "config"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_usage_parse_and_steps(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions == ["main"]
    assert f"python {path.name}" in ast.get_docstring(tree)


def test_nothing_imports_a_script():
    scripts = {path.stem for path in SCRIPTS}
    for path in MODULES:
        names = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
        }
        assert not names & scripts, path


def test_the_readme_names_every_module_and_script():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    missing = [path.name for path in [*MODULES, *SCRIPTS] if f" {path.name} " not in readme]
    assert not missing


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_looks_for_garbage_again_once_it_has_its_libraries(path):
    """`errors.run` puts the search off, and a million objects of garbage can hold much."""
    assert "    resume_collection()\n" in path.read_text(encoding="utf-8")
