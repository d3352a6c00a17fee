"""When Python looks for garbage: not while libraries load, and among what they made not at all.

torch and transformers make a million objects as they load, which live to the end.
"""

import gc

LOADING, WORKING = 1_000_000, 700  # new objects from one look to the next; 700 is Python's own


def defer_collection() -> None:
    """Call this before libraries load: to look them over took a fifth of the start."""
    gc.set_threshold(LOADING)


def resume_collection() -> None:
    """Call this between loading and work: what lives now is taken to live to the end."""
    gc.freeze()
    gc.set_threshold(WORKING)


def skip_last_collection() -> None:
    """Call this before exit: what lives still ends with the process, and to look it over first
    took over a second.
    """
    gc.freeze()
