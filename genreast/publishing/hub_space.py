"""The Space: the page of `examples/space`, the package files it needs, and the model it shows."""

import ast
import shutil
from pathlib import Path

from huggingface_hub import SpaceCard

from genreast.pages import PAGE_FILE, write_page
from genreast.publishing.staging_folder import fill_aside

PACKAGE = Path(__file__).parents[1]
PAGE = ("app.py", "requirements.txt", "packages.txt")
OWNED = ("genreast/*.py", "genreast/*/*.py")
STAGED = (*PAGE, PAGE_FILE, *OWNED)


def stage_space(page_dir: Path, model: str, staging_dir: Path) -> None:
    """Fill `staging_dir` with a Space that shows the Hub model `model`.

    Raises UserError when other files lie there.
    """

    def fill(folder: Path) -> None:
        for name in PAGE:
            shutil.copyfile(page_dir / name, folder / name)
        card = SpaceCard.load(page_dir / PAGE_FILE)
        card.data.models = [model]  # the Hub links the two, and app.py reads it
        write_page(folder, str(card))
        for path in package_files(page_dir / "app.py"):
            copy = folder / "genreast" / path.relative_to(PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)

    fill_aside(staging_dir, STAGED, fill)


def package_files(source: Path) -> list[Path]:
    """The files of this package that a file imports, directly or through one another."""
    waiting, found = [source], set()
    while waiting:
        new = _imported(waiting.pop()) - found
        found |= new
        waiting += new
    return sorted(found)


def _imported(source: Path) -> set[Path]:
    """The modules of this package that a file imports, and the packages that they lie in."""
    found = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                found |= _files(name)
    return found


def _files(name: str) -> set[Path]:
    """What Python runs of this package on the way to a name: a module, and packages' inits."""
    package, *parts = name.split(".")
    if package != PACKAGE.name:
        return set()
    place = PACKAGE.joinpath(*parts)
    folders = [place, *(folder for folder in place.parents if folder.is_relative_to(PACKAGE))]
    files = {place.with_suffix(".py"), *(folder / "__init__.py" for folder in folders)}
    return {file for file in files if file.is_file()}
