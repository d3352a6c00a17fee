"""The same recording under another name: equal and near-equal recordings, found from the sound.

An inverted index over landmark keys gives candidates, words verify them. Each entry is paired with
its next few neighbours in the index alone, and only where the two songs would start within 2.6 s of
each other, so work and memory are bounded by a fixed number of pairs a song, and sorting them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from genreast.fingerprint import Fingerprint

NEIGHBOURS = 4  # entries of one key that each entry is paired with; copies chain through them
MOST_OFFSET = 64  # frames (2.6 s) between the starts of two copies
LEAST_VOTES = 4  # landmarks that agree on one offset
MOST_BIT_ERRORS = 0.35  # the threshold of Haitsma and Kalker 2002
LEAST_FRAMES = 25  # audible frames (1 s) that must be there to compare
LEAST_OVERLAP = 0.6  # of the audible frames of the shorter recording
SLACK = 3  # frames around the voted offset
ENTRIES_AT_ONCE = 5_000_000  # of the index; their pairs take about 1 GB


@dataclass(frozen=True)
class Match:
    """Two recordings (by their places in the list) that are one, and their bit error rate."""

    first: int
    second: int
    bit_errors: float


def near_copies(fingerprints: list[Fingerprint]) -> list[Match]:
    """Pairs of recordings that sound the same, up to encoding, level, channel, offset and end."""
    matches = []
    for first, second, offset in candidates(fingerprints):
        errors = bit_errors(fingerprints[first], fingerprints[second], offset)
        if errors <= MOST_BIT_ERRORS:
            matches.append(Match(first, second, errors))
    return matches


def candidates(fingerprints: list[Fingerprint]) -> Iterable[tuple[int, int, int]]:
    """(first, second, offset in frames) of the pairs whose landmarks agree on an offset."""
    if not fingerprints:
        return []
    lengths = [len(print_.keys) for print_ in fingerprints]
    songs = np.repeat(np.arange(len(fingerprints), dtype=np.int32), lengths)
    keys = np.concatenate([print_.keys for print_ in fingerprints])
    frames = np.concatenate([print_.frames for print_ in fingerprints]).astype(np.int32)
    order = np.lexsort((songs, frames, keys))
    songs, keys, frames = songs[order], keys[order], frames[order]
    found = []
    # The pairs of some songs at a time, so that memory is that of the index alone.
    at_once = max(1, len(fingerprints) * ENTRIES_AT_ONCE // max(1, len(keys)))
    for low in range(0, len(fingerprints), at_once):
        pairs, offsets = [], []
        for step in range(1, NEIGHBOURS + 1):
            one, other, offset = songs[:-step], songs[step:], frames[step:] - frames[:-step]
            first = np.minimum(one, other)
            near = (keys[step:] == keys[:-step]) & (offset <= MOST_OFFSET) & (one != other)
            near &= (first >= low) & (first < low + at_once)
            one, other, offset = one[near], other[near], offset[near]
            offsets.append(np.where(one < other, offset, -offset))
            first = first[near].astype(np.int64)
            pairs.append(first * len(fingerprints) + np.maximum(one, other))
        found += _voted(np.concatenate(pairs), np.concatenate(offsets), len(fingerprints))
    return found


def bit_errors(first: Fingerprint, second: Fingerprint, offset: int) -> float:
    """Share of differing bits where both are audible, at the best offset near `offset`.

    1.0 where they overlap too little to tell.
    """
    best = 1.0
    least = LEAST_OVERLAP * min(first.audible.sum(), second.audible.sum())
    for shift in range(offset - SLACK, offset + SLACK + 1):
        a, b = max(-shift, 0), max(shift, 0)
        length = min(len(first.words) - a, len(second.words) - b)
        if length <= 0:
            continue
        heard = first.audible[a : a + length] & second.audible[b : b + length]
        if heard.sum() < max(LEAST_FRAMES, least):
            continue
        differ = np.bitwise_xor(first.words[a : a + length], second.words[b : b + length])
        best = min(best, float(np.bitwise_count(differ[heard]).mean()) / 32)
    return best


def connected(size: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each of `size` items the smallest item it is linked with, through any chain of pairs."""
    root = list(range(size))

    def find(item: int) -> int:
        while root[item] != item:
            root[item] = root[root[item]]
            item = root[item]
        return item

    for first, second in pairs:
        a, b = sorted((find(first), find(second)))
        root[b] = a
    return [find(item) for item in range(size)]


def _voted(pairs: np.ndarray, offsets: np.ndarray, songs: int) -> list[tuple[int, int, int]]:
    """The pairs with enough votes for one offset, each with its most voted one."""
    best: dict[int, tuple[int, int]] = {}
    # Two overlapping rows of bins four frames wide: no true offset is cut in half by both.
    for half in (0, 2):
        bins = (offsets + MOST_OFFSET + half) // 4
        found, counts = np.unique(pairs * MOST_OFFSET + bins, return_counts=True)
        enough = counts >= LEAST_VOTES
        for vote, count in zip(found[enough].tolist(), counts[enough].tolist(), strict=True):
            pair, bin_ = divmod(vote, MOST_OFFSET)
            best[pair] = max(best.get(pair, (0, 0)), (count, 4 * bin_ - MOST_OFFSET - half + 2))
    return [(*divmod(pair, songs), offset) for pair, (_, offset) in sorted(best.items())]
