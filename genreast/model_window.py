"""How much sound a model hears at once.

Its features are `max_length` frames long; the clips that it was trained on, `clip_seconds` in its
config, may be shorter.
"""

import math
from typing import Any

from genreast.audio import CLIP_SECONDS, FRAME_LENGTH, SAMPLING_RATE
from genreast.features import num_frames, num_samples


def longest_window(config: Any) -> int:
    """Samples that a model of this `ASTConfig` can hear at once."""
    return num_samples(config.max_length)


def window_samples(config: Any) -> int:
    """Samples of one window: as long as the clips of training, at most what the model can hear."""
    seconds = getattr(config, "clip_seconds", None) or CLIP_SECONDS
    return min(longest_window(config), round(seconds * SAMPLING_RATE))


def window_frames(seconds: float) -> int:
    """Frames a model needs to hear `seconds` at once, rounded up to whole patches of 16.

    10 s need 998 frames and get 1008; the published AudioSet models use 1024.
    """
    return max(1, math.ceil(num_frames(round(seconds * SAMPLING_RATE)) / 16)) * 16


def set_window(config: Any, clip_seconds: float) -> None:
    """Note in the config, as `clip_seconds`, the length of window the model is trained on.

    Clips longer than the model can hear are cut to 10 s, or to its own window where that is less.
    The length is exact to the sample, for a window that is one sample shorter than the clips would
    split each of them in two. No window is shorter than a frame.
    """
    samples = max(round(clip_seconds * SAMPLING_RATE), FRAME_LENGTH)
    if samples > longest_window(config):
        samples = min(round(CLIP_SECONDS * SAMPLING_RATE), longest_window(config))
    config.clip_seconds = samples / SAMPLING_RATE
