"""Progress bars: lively on a terminal, sparing in a log."""

import sys

from tqdm.auto import tqdm

LOG_SECONDS = 10  # a log keeps every state of a bar: ten a second come to megabytes in a night


def bar(*args, **options) -> tqdm:
    """tqdm's own bar, on stderr; where that is no terminal it is drawn every ten seconds."""
    seconds = 0.1 if sys.stderr.isatty() else LOG_SECONDS
    return tqdm(*args, file=sys.stderr, mininterval=seconds, **options)
