"""README.md pages: names shown letter by letter, and a seal that tells a page as we wrote it from
one that was edited."""

import hashlib
import re
from pathlib import Path
from typing import Any

PAGE_FILE = "README.md"
SEAL = "<!-- made by GenreAST, sha256 {}: edit the page and this no longer fits -->\n"


def write_page(folder: Path, text: str) -> None:
    """Write README.md with its seal, a hash of the text, which an edit breaks."""
    (folder / PAGE_FILE).write_text(text + _seal(text), encoding="utf-8")


def is_sealed(text: str) -> bool:
    """Whether a README.md is as `write_page` wrote it."""
    body, found, _ = text.partition(SEAL.split("{", 1)[0])
    return bool(found) and text == body + _seal(body)


def without_seal(text: str) -> str:
    """A page's own words, edited or not."""
    return re.sub(re.escape(SEAL.strip()).replace(r"\{\}", "[0-9a-f]*"), "", text)


def literal(text: Any) -> str:
    """A text as Markdown that shows it letter by letter, in a sentence or a table: a genre named
    `*x*` or `<b>` is a name."""
    return re.sub(r"[\\`*_\[\]<>&|~]", r"\\\g<0>", " ".join(str(text).split()))


def _seal(text: str) -> str:
    return SEAL.format(hashlib.sha256(text.encode()).hexdigest())
