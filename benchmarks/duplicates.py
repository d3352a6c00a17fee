"""How the search for copies grows with the library: made fingerprints, some planted copies.

    python -m benchmarks.duplicates

Writes benchmarks/results/duplicates.json: seconds, memory and copies found for each number of
songs, in ascending order.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import save
from genreast.data.duplicates import near_copies
from genreast.data.saved_prints import Fingerprint, SavedFingerprints

KEYS, FRAMES = 600, 1500  # of a song of a minute and more
COPIES = 0.01  # of the songs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, nargs="+", default=[1000, 4000, 16_000, 100_000])
    parser.add_argument("--quick", action="store_true", help="keep the result apart")
    args = parser.parse_args()
    command = "python -m benchmarks.duplicates --songs " + " ".join(map(str, args.songs))
    result = {"sizes": [measure(count) for count in args.songs]}
    save("duplicates", result, command + " --quick" * args.quick, args.quick)


def measure(count: int) -> dict:
    """Search `count` songs of which one in a hundred is a copy with a tenth of its bits wrong."""
    planted = int(count * COPIES)
    with tempfile.TemporaryDirectory() as folder:
        prints = SavedFingerprints([Path(folder) / f"{number}.npy" for number in range(count)])
        save_songs(prints, planted, np.random.default_rng(count))
        start = time.process_time()
        found = {(match.first, match.second) for match in near_copies(prints)}
        seconds = time.process_time() - start
    expected = {(number, count - planted + number) for number in range(planted)}
    return {
        "songs": count,
        "processor_seconds": round(seconds, 2),
        "milliseconds_a_song": round(1000 * seconds / count, 3),
        # Of this process, so of the largest number of songs so far.
        "peak_gigabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2, 2),
        "copies": planted,
        "found": len(found & expected),
        "wrong": len(found - expected),
    }


def save_songs(prints: SavedFingerprints, planted: int, random: np.random.Generator) -> None:
    """Write a fingerprint to each path; the last ones are copies of the first."""
    originals = len(prints) - planted
    for number, path in enumerate(prints.paths):
        new = number < originals
        (song(random) if new else copy(prints[number - originals], random)).save(path)


def song(random: np.random.Generator) -> Fingerprint:
    """Keys as uneven as music's: low notes are common, so some keys stand in many songs."""
    notes = (random.exponential(40, (3, KEYS)) % 256).astype(np.uint32)
    keys = notes[0] << 16 | notes[1] << 8 | notes[2] % 32
    return Fingerprint(
        random.integers(0, 2**32, FRAMES, dtype=np.uint32),
        np.ones(FRAMES, bool),
        keys.astype(np.uint32),
        np.sort(random.integers(0, FRAMES, KEYS)).astype(np.uint16),
    )


def copy(original: Fingerprint, random: np.random.Generator) -> Fingerprint:
    wrong = np.packbits(random.random((FRAMES, 32)) < 0.1, axis=1).view(np.uint32)[:, 0]
    kept = np.sort(random.permutation(KEYS)[: KEYS // 3])
    return Fingerprint(
        original.words ^ wrong, original.audible, original.keys[kept], original.frames[kept]
    )


if __name__ == "__main__":
    main()
