"""The same recording under another name: equal and near-equal recordings, found from the sound.

An inverted index over landmark keys gives candidates, words verify them. Each entry is paired with
its next few neighbours in the index alone, and only where the two songs would start within 2.6 s of
each other, so work is bounded by a fixed number of pairs a song, and sorting them. Memory is that
of the index, 8 bytes an entry, and of the pairs of a part of the songs.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from genreast.data.saved_prints import Fingerprint

NEIGHBOURS = 4  # entries of one key that each entry is paired with; copies chain through them
MOST_OFFSET = 64  # frames (2.6 s) between the starts of two copies
LEAST_VOTES = 4  # landmarks that agree on one offset
MOST_BIT_ERRORS = 0.35  # the threshold of Haitsma and Kalker 2002
LEAST_FRAMES = 25  # audible frames (1 s) that must be there to compare
LEAST_OVERLAP = 0.6  # of the audible frames of the shorter recording
SLACK = 3  # frames around the voted offset
# An entry of the index is one number, so that sorting them is all it takes to make it: the key
# (24 bits), the frame and the song.
FRAME_BITS = 12  # of 3,000 frames at most: a difference of frames cannot reach the key
SONG_BITS = 28
OFFSET_BITS = 8
ENTRIES_AT_ONCE = 100_000  # of the index; their pairs take up to 12 MB
MOST_PARTS = 16  # of a larger library, for each part goes through the whole index


@dataclass(frozen=True)
class Match:
    """Two recordings (by their places in the list) that are one, and their bit error rate."""

    first: int
    second: int
    bit_errors: float


def near_copies(fingerprints: Sequence[Fingerprint]) -> list[Match]:
    """Pairs of recordings that sound the same, up to encoding, level, channel, offset and end."""
    matches = []
    for first, second, offset in candidates(fingerprints):
        errors = bit_errors(fingerprints[first], fingerprints[second], offset)
        if errors <= MOST_BIT_ERRORS:
            matches.append(Match(first, second, errors))
    return matches


def candidates(fingerprints: Sequence[Fingerprint]) -> Iterator[tuple[int, int, int]]:
    """(first, second, offset in frames) of the pairs whose landmarks agree on an offset, in order.

    Goes through the fingerprints once, and holds none of them.
    """
    index = _index(fingerprints)
    songs = len(fingerprints)
    # The pairs of some songs at a time, so that memory is hardly more than that of the index.
    entries = max(ENTRIES_AT_ONCE, len(index) // MOST_PARTS)
    at_once = max(1, songs * entries // max(1, len(index)))
    for low in range(0, songs, at_once):
        for pair, offset in _voted(_votes(index, low, low + at_once, songs)):
            yield *divmod(pair, songs), offset


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


def _index(fingerprints: Sequence[Fingerprint]) -> np.ndarray:
    """All landmarks in the order of their keys, then frames, then songs; (entries,) uint64."""
    parts = [np.zeros(0, np.uint64)]
    for song, print_ in enumerate(fingerprints):
        keys, frames = print_.keys.astype(np.uint64), print_.frames.astype(np.uint64)
        parts.append((keys << FRAME_BITS | frames) << SONG_BITS | np.uint64(song))
    index = np.concatenate(parts)
    index.sort()
    return index


def _votes(index: np.ndarray, low: int, high: int, songs: int) -> np.ndarray:
    """What the whole index says of the pairs whose first song is one of `low` to `high`."""
    starts = range(0, len(index), ENTRIES_AT_ONCE)
    parts = [index[start : start + ENTRIES_AT_ONCE + NEIGHBOURS] for start in starts]
    nothing = np.zeros(0, np.int64)
    return np.concatenate([nothing, *(_votes_in(part, low, high, songs) for part in parts)])


def _votes_in(index: np.ndarray, low: int, high: int, songs: int) -> np.ndarray:
    """Offsets between each entry and its next neighbours, where the first of the two songs is one
    of `low` to `high`; the pair of songs and the offset from -64 on in one number, int64.

    The last few entries are neighbours of those before them, and have their own turn elsewhere.
    """
    found = []
    song = (index & (2**SONG_BITS - 1)).astype(np.int32)
    for step in range(1, NEIGHBOURS + 1):
        count = max(0, min(len(index) - step, ENTRIES_AT_ONCE))
        first = np.minimum(song[:count], song[step : step + count])
        one = np.flatnonzero((first >= low) & (first < high))
        # Places are key and frame: entries so near to each other have the same key.
        offset = ((index[one + step] >> SONG_BITS) - (index[one] >> SONG_BITS)).astype(np.int64)
        near = (offset <= MOST_OFFSET) & (song[one] != song[one + step])
        one, offset = one[near], offset[near]
        first, second = song[one].astype(np.int64), song[one + step].astype(np.int64)
        offset = np.where(first < second, offset, -offset) + MOST_OFFSET
        pair = np.minimum(first, second) * songs + np.maximum(first, second)
        found.append(pair << OFFSET_BITS | offset)
    return np.concatenate(found)


def _voted(votes: np.ndarray) -> Iterator[tuple[int, int]]:
    """The pairs with enough votes for one offset, in order, each with its most voted one."""
    votes.sort()
    best: dict[int, tuple[int, int]] = {}
    # Two overlapping rows of bins four frames wide: no true offset is cut in half by both.
    for half in (0, 2):
        bins = (votes + half) >> 2  # of pair and offset, still in one number
        starts = np.flatnonzero(np.append(True, bins[1:] != bins[:-1]))
        counts = np.diff(starts, append=len(bins))
        enough = counts >= LEAST_VOTES
        for both, count in zip(bins[starts[enough]].tolist(), counts[enough].tolist(), strict=True):
            pair, bin_ = divmod(both, 2 ** (OFFSET_BITS - 2))
            best[pair] = max(best.get(pair, (0, 0)), (count, 4 * bin_ - MOST_OFFSET - half + 2))
    for pair in sorted(best):
        yield pair, best[pair][1]
