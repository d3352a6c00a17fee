"""Imports go one way, that of the README's tree, scripts are thin, and every file is named."""

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = README.partition("\ngenreast/\n")[2].partition("\n```")[0]
ORDER = re.findall(r"^[├└]── (\w+)\.py ", TREE, re.MULTILINE)


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
LONGEST_MAIN = 40  # lines: on a screen with the script's usage


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_only_those_before_it(path):
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
    [main] = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert main.name == "main" and main.end_lineno - main.lineno < LONGEST_MAIN
    assert not any(isinstance(node, ast.Try) for node in ast.walk(tree))
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


def test_the_readme_names_every_module_once_and_every_script():
    assert sorted(ORDER) == [path.stem for path in MODULES]
    assert not [path.name for path in SCRIPTS if f"\n{path.name} " not in README]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_looks_for_garbage_again_once_it_has_its_libraries(path):
    """`errors.run` puts the search off, and a million objects of garbage can hold much."""
    assert "    resume_collection()\n" in path.read_text(encoding="utf-8")
