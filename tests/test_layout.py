"""Imports go one way, that of CONTRIBUTING's tree, scripts are thin, and every file is named."""

import ast
import re
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "genreast"
README, CONTRIBUTING = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")
)
TREE = CONTRIBUTING.partition("\ngenreast/\n")[2].partition("\n```")[0]


def named_in_the_tree() -> list[str]:
    """The modules in the order of the tree, as `audio` and `data.songs`."""
    names, package = [], ""
    for line in TREE.splitlines():
        indent, name = re.match(r"(│   |    )?[├└]── (\w+(?:/|\.py))", line).groups()
        if name.endswith("/"):
            package = name.replace("/", ".")
        else:
            names.append((package if indent else "") + name.removesuffix(".py"))
    return names


def dotted(path: Path) -> str:
    """A module's name below the package: `data/songs.py` is `data.songs`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [path for path in FILES if path.stem != "__init__"]
ORDER = named_in_the_tree()


def imported(path: Path) -> set[str]:
    """The package's modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    names = {name.removeprefix("genreast.") for name in found if name.startswith("genreast.")}
    return names & set(map(dotted, MODULES))


SCRIPTS = sorted(ROOT.glob("*.py"))
LONGEST_MAIN = 40  # lines: on a screen with the script's usage


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_a_module_imports_only_those_before_it(path):
    before = set(ORDER[: ORDER.index(dotted(path))])
    assert imported(path) <= before


def test_the_modules_that_stand_apart_do():
    """A model folder is enough to predict, and publishing needs no training code."""

    def reach(name: str) -> set[str]:
        direct = imported(PACKAGE / f"{name.replace('.', '/')}.py")
        return direct.union(*(reach(module) for module in direct)) if direct else set()

    def packages(name: str) -> set[str]:
        return {module.partition(".")[0] for module in reach(name)}

    assert not packages("inference.classifier") & {"config", "arguments", "data", "training"}
    for name in ("publishing.hub", "publishing.model_card"):
        assert not packages(name) & {"training"} and "data.audiofolder" not in reach(name)
    for name in ("data.genres", "data.clips", "data.workers"):
        assert not packages(name) & {"training", "config"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_usage_parse_and_steps(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    [main] = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert main.name == "main" and main.end_lineno - main.lineno < LONGEST_MAIN
    assert not any(isinstance(node, ast.Try) for node in ast.walk(tree))
    assert f"python {path.name}" in ast.get_docstring(tree)


def test_nothing_imports_a_script():
    scripts = {path.stem for path in SCRIPTS}
    for path in FILES:
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


def test_every_module_is_named_once_and_every_script_and_package():
    assert sorted(ORDER) == sorted(map(dotted, MODULES))
    packages = {path.parent.name for path in MODULES} - {PACKAGE.name}
    lines = [f"── {name}/ " for name in packages] + [f"\n{path.name} " for path in SCRIPTS]
    assert not [line for line in lines if line not in README]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_looks_for_garbage_again_once_it_has_its_libraries(path):
    """`errors.run` puts the search off, and a million objects of garbage can hold much."""
    assert "    resume_collection()\n" in path.read_text(encoding="utf-8")
