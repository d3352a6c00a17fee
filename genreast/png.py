"""Matplotlib figures as PNG: a file that is never seen half written, or bytes for a page."""

import io
import os
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.text import Text

DPI = 150


def to_bytes(figure: Figure, dpi: int = DPI) -> bytes:
    """The figure as a PNG file's bytes. Its texts are names: `A$AP` is no formula."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format="png", bbox_inches="tight")
    return buffer.getvalue()


def write(image: bytes, path: str | Path) -> None:
    """Write a PNG's bytes beside `path`, then put the file in place."""
    part = Path(f"{path}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.write_bytes(image)
    os.replace(part, path)
