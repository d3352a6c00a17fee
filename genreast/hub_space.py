"""The Space: the page of `examples/space`, the package files it needs, and the model it shows."""

import ast
import shutil
from pathlib import Path

from huggingface_hub import SpaceCard

from genreast.pages import PAGE_FILE, write_page
from genreast.staging_folder import fill_aside

PACKAGE = Path(__file__).parent
PAGE = ("app.py", "requirements.txt", "packages.txt")
STAGED = (*PAGE, PAGE_FILE, "genreast/*.py")
OWNED = ("genreast/*.py",)


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
        (folder / "genreast").mkdir()
        for path in package_files(page_dir / "app.py"):
            shutil.copyfile(path, folder / "genreast" / path.name)

    fill_aside(staging_dir, STAGED, fill)


def package_files(source: Path) -> list[Path]:
    """The modules of this package that a file imports, directly or through one another."""
    waiting, found = [source], {PACKAGE / "__init__.py"}
    while waiting:
        new = _imported(waiting.pop()) - found
        found |= new
        waiting += new
    return sorted(found)


def _imported(source: Path) -> set[Path]:
    names = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        package, _, module = node.module.partition(".")
        if package == PACKAGE.name:
            names |= {module} if module else {alias.name for alias in node.names}
    return {path for path in (PACKAGE / f"{name}.py" for name in names) if path.is_file()}
