"""Fingerprints as they are kept: what `fingerprint` hears, and `duplicates` compares."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Fingerprint:
    """Words (frames,) and whether each is audible; landmark keys (n,) and their frames (n,)."""

    words: np.ndarray  # uint32
    audible: np.ndarray  # bool
    keys: np.ndarray  # uint32
    frames: np.ndarray  # uint16

    def save(self, path: Path) -> None:
        """Write the four arrays one after the other."""
        with open(path, "wb") as file:
            for array in (self.words, self.audible, self.keys, self.frames):
                np.save(file, array)

    @classmethod
    def load(cls, path: Path) -> "Fingerprint":
        """Read what `save` wrote. Pickled content is refused."""
        with open(path, "rb") as file:
            return cls(*(np.load(file, allow_pickle=False) for _ in range(4)))


class SavedFingerprints(Sequence):
    """Fingerprints on disk, read when they are asked for: a large library's would fill the memory.

    The last thousand stay, which take 25 MB: a library of no more is read once.
    """

    def __init__(self, paths: list[Path]):
        self.paths = paths
        self._load = lru_cache(1000)(Fingerprint.load)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Fingerprint:
        return self._load(self.paths[place])
