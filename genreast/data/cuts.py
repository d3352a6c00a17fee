"""Where a song is cut: the parts that sound, and the clips in them."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genreast.audio import BLOCK_SECONDS, SAMPLING_RATE, spread_evenly, window_starts

FULL_SCALE = 32_768  # a clip is stored in 16 bits
SILENCE_PEAK = 10 ** (-60 / 20) * FULL_SCALE  # what never passes −60 dBFS holds nothing to learn
SILENT_BLOCK = SAMPLING_RATE // 10  # silence is looked for in steps of 0.1 s


@dataclass(frozen=True)
class CutSettings:
    """How songs are cut. Two runs with equal settings make equal clips of a song.

    `fingerprints` and `feature_stats` are measured beside the clips, and change none.
    """

    clip_seconds: float
    skip_start_seconds: float = 0.0
    skip_end_seconds: float = 0.0
    max_clips_per_song: int | None = None
    max_silence_seconds: float | None = None
    fingerprints: bool = True
    feature_stats: bool = True


def clip_starts(samples: int, settings: CutSettings) -> list[int]:
    """First sample of each clip of a song: skips respected, never none.

    A song too short for the skips keeps its middle clip.
    """
    clip = round(settings.clip_seconds * SAMPLING_RATE)
    first = round(settings.skip_start_seconds * SAMPLING_RATE)
    last = samples - round(settings.skip_end_seconds * SAMPLING_RATE)
    if last - first < min(clip, samples):
        return [max((samples - clip) // 2, 0)]
    starts = [first + start for start in window_starts(last - first, clip)]
    return spread_evenly(starts, settings.max_clips_per_song)


def blocks(samples: np.ndarray) -> Iterator[np.ndarray]:
    """The samples in blocks of a minute, so that a long song never lies in memory as a whole."""
    step = BLOCK_SECONDS * SAMPLING_RATE
    for start in range(0, len(samples), step):
        yield samples[start : start + step]
        release(samples)


def release(samples: np.ndarray) -> None:
    """Let go of the memory that reading a song on disk has filled."""
    if isinstance(samples, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):
        samples._mmap.madvise(mmap.MADV_DONTNEED)


def sounding_parts(samples: np.ndarray, longest: float | None) -> list[tuple[int, int]]:
    """(first, end) of the stretches of a song that are left when longer silences go.

    Silence is what stays below −60 dBFS for more than `longest` seconds; None keeps all.
    """
    whole = [(0, len(samples))]
    if longest is None:
        return whole
    loud = [
        np.abs(block[at : at + SILENT_BLOCK].astype(np.int32)).max() >= SILENCE_PEAK
        for block in blocks(samples)
        for at in range(0, len(block), SILENT_BLOCK)
    ]
    edges = np.flatnonzero(np.diff([False, *loud, False]))
    parts: list[tuple[int, int]] = []
    for first, end in (edges.reshape(-1, 2) * SILENT_BLOCK).tolist():
        if parts and first - parts[-1][1] <= longest * SAMPLING_RATE:
            parts[-1] = (parts[-1][0], end)
        else:
            parts.append((first, end))
    if parts and parts[0][0] <= longest * SAMPLING_RATE:
        parts[0] = (0, parts[0][1])
    if parts and len(samples) - parts[-1][1] <= longest * SAMPLING_RATE:
        parts[-1] = (parts[-1][0], len(samples))
    return [(first, min(end, len(samples))) for first, end in parts] or whole


def read_parts(
    samples: np.ndarray, parts: list[tuple[int, int]], ends: np.ndarray, position: int, length: int
) -> np.ndarray:
    """`length` samples from `position` of the song that the parts make when they are joined; `ends`
    (parts,) is where each of them ends in it."""
    pieces = []
    for number in range(int(np.searchsorted(ends, position, side="right")), len(parts)):
        _, end = parts[number]
        begin = end - int(ends[number]) + position
        pieces.append(samples[begin : min(begin + length, end)])
        position, length = position + len(pieces[-1]), length - len(pieces[-1])
        if not length:
            break
    return np.concatenate(pieces)
