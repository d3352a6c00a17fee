"""Matplotlib figures as PNG: a file that is never seen half written, or bytes for a page."""

import contextlib
import functools
import io
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text

from genreast.atomic import at_once

DPI = 150
# Matplotlib's own font has Latin, Greek and Cyrillic letters; for the others, one of these.
WIDE_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Hiragino Sans", "PingFang SC", "Yu Gothic"),
    *("Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS", "Noto Emoji"),
    *("Noto Sans Devanagari", "Kohinoor Devanagari", "Lohit Devanagari", "Nirmala UI"),
    *("Noto Sans Thai", "Thonburi", "Loma", "Leelawadee UI"),
)


def to_bytes(figure: Figure, dpi: int = DPI) -> bytes:
    """The figure as a PNG file's bytes. Its texts are names: `A$AP` is no formula.

    Letters that no font of this machine has are boxes, which is told once.
    """
    set_fonts(figure)
    buffer = io.BytesIO()
    with boxes_told_of():
        figure.savefig(buffer, dpi=dpi, format="png", bbox_inches="tight")
    return buffer.getvalue()


def set_fonts(figure: Artist) -> None:
    """Give all texts of a figure, or of a part of one, the fonts that `to_bytes` draws with."""
    here = fontManager.get_font_names()
    families = ["sans-serif", *(font for font in WIDE_FONTS if font in here)]
    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_fontfamily(families)


@contextlib.contextmanager
def boxes_told_of() -> Iterator[None]:
    """Where texts are drawn or measured: one line for matplotlib's warnings of missing letters."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    for warning in caught:
        if "missing from font" in str(warning.message):
            _tell_of_boxes()
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def write(image: bytes, path: str | Path) -> None:
    """Write a PNG's bytes to `path` at once, in a folder that is made where it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with at_once(path) as part:
        part.write_bytes(image)


@functools.cache
def _tell_of_boxes() -> None:
    print(
        "pictures show boxes for letters that no font here has; Google's Noto fonts have most"
        " (Debian: apt-get install fonts-noto-cjk fonts-noto-core)",
        file=sys.stderr,
    )
