"""Streaming: the train split read from its shards as training goes, shuffled in a buffer.

Which clips a batch holds follows from the seed, the epoch and the batch's number alone. All
processes know every row's label and row group, so each reads its own part, an epoch has a known
length, and a resumed run finds its place without reading what came before. `datasets` can stream
too, but its processes make unequal numbers of steps, and a shuffle buffer resumed has lost what it
held.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import datasets
import numpy as np
from torch.utils.data import Dataset, Sampler

from genreast.audio import SAMPLING_RATE
from genreast.training.batches import SAMPLED, decode_clip
from genreast.training.imbalance import EpochSampler
from genreast.training.shards import RowGroups

SAMPLED_GROUPS = 4  # row groups that the sampled clips are taken from: each is read for them


@dataclass(frozen=True)
class Deal:
    """How the clips of an epoch are dealt to processes, and in each to its workers.

    The row groups stand in an order of seed and epoch; each process takes a stretch of it, as long
    as any other's but for one clip, and each of its workers a stretch of that, in whole batches.
    A worker reads its stretch in order and gives its clips in another, out of a buffer.
    """

    sampler: EpochSampler  # how often each clip is heard
    batch_size: int  # clips a process and step
    processes: int
    workers: int  # of a process
    buffer: int  # most clips that a process holds to draw from

    @property
    def steps(self) -> int:
        """Batches of each process in an epoch."""
        return math.ceil(math.ceil(len(self.sampler) / self.processes) / self.batch_size)

    def reading(self, epoch: int, groups: RowGroups) -> np.ndarray:
        """The rows of an epoch in the order of reading, (clips,): row group by row group."""
        generator = np.random.default_rng((self.sampler.seed, epoch))
        starts = groups.starts
        order = generator.permutation(len(groups))
        rows = np.concatenate([np.arange(starts[group], starts[group + 1]) for group in order])
        if np.allclose(self.sampler.expected, 1):
            return rows
        times = np.bincount(self.sampler.draw(generator), minlength=len(rows))
        return np.repeat(rows, times[rows])

    def stretch(
        self, epoch: int, process: int, worker: int, groups: RowGroups
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What one worker reads: rows (clips,), the order it gives them in, its batches' sizes."""
        reading = self.reading(epoch, groups)
        first, last = (-(-part * len(reading) // self.processes) for part in (process, process + 1))
        # With one clip a step, a process that is short of one takes its neighbour's last as well.
        first = min(first, last - self.steps)
        steps = np.arange(self.steps)
        begins = np.minimum(steps * self.batch_size, last - first - (self.steps - steps))
        sizes = np.diff(begins, append=last - first)
        first += sum(sizes[before :: self.workers].sum() for before in range(worker))
        sizes = sizes[worker :: self.workers]
        rows = reading[first : first + sizes.sum()].copy()
        generator = np.random.default_rng((self.sampler.seed, epoch, process, worker))
        # A clip is given at most a buffer's length after it could have been: no more are held.
        delays = generator.uniform(0, max(1, self.buffer // self.workers), len(rows))
        return rows, np.argsort(np.arange(len(rows)) + delays), sizes


class BatchNumbers(Sampler[tuple[int, int]]):
    """The batches of an epoch, of all processes: (epoch, number). Accelerate deals them out."""

    def __init__(self, length: int):
        self.length, self.epoch = length, 0

    def set_epoch(self, epoch: int) -> None:
        """Name the batches of `epoch`, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, number) for number in range(self.length))


class StreamedClips(Dataset):
    """The train split's clips, asked for by batch: `(epoch, number)` → a list of clips.

    Labels and songs are known of all clips, the sound of those in the buffer alone, encoded.
    Batches may be asked for in any order; those of one worker, in turn, read each row group once.
    """

    def __init__(self, split: datasets.Dataset, groups: RowGroups):
        self.groups = groups
        self.labels: list[int] = split["label"][:]
        songs: dict[str, str] = {}  # one string for all clips of a song
        self.song_ids: list[str] = [songs.setdefault(song, song) for song in split["song_id"][:]]
        self.deal: Deal | None = None
        self._place = None  # the batch that can be read on from where the last one ended

    def __len__(self) -> int:
        return len(self.labels)

    def deal_out(self, deal: Deal) -> BatchNumbers:
        """Set who hears what; returns the sampler that names an epoch's batches."""
        self.deal, self._place = deal, None
        return BatchNumbers(deal.steps * deal.processes)

    def __getitems__(self, batch: list[tuple[int, int]]) -> list[dict[str, Any]]:
        """The clips of one batch, decoded: each with `waveform`, `label` and `index`, its row."""
        [(epoch, number)] = batch
        step, process = divmod(number, self.deal.processes)
        turn, worker = divmod(step, self.deal.workers)
        if self._place != (epoch, process, worker, turn):
            rows, order, self._sizes = self.deal.stretch(epoch, process, worker, self.groups)
            self._sound = self._read(rows, order[self._sizes[:turn].sum() :])
        self._place = (epoch, process, worker, turn + 1)
        return [
            decode_clip(source, self.labels[row], row)
            for row, source in islice(self._sound, int(self._sizes[turn]))
        ]

    def longest_seconds(self) -> float:
        """The longest of a few clips from row groups spread over the split, in seconds."""
        chosen = np.unique(np.linspace(0, len(self.groups) - 1, SAMPLED_GROUPS).astype(int))
        longest = 0
        for group in chosen:
            first, end = self.groups.starts[group : group + 2]
            places = np.linspace(first, end - 1, SAMPLED // SAMPLED_GROUPS)
            rows = np.unique(places.astype(int)).tolist()
            for row, source in self.groups.read(group, rows).items():
                longest = max(longest, len(decode_clip(source, 0, row)["waveform"]))
        return longest / SAMPLING_RATE

    def _read(self, rows: np.ndarray, order: np.ndarray) -> Iterator[tuple[int, dict[str, Any]]]:
        """The clips at places `order` of `rows`, each as (row, encoded sound)."""
        held: dict[int, dict[str, Any]] = {}  # by place
        coming = self._row_groups(rows, np.sort(order))
        for place in order.tolist():
            while place not in held:
                held |= next(coming)
            yield int(rows[place]), held.pop(place)

    def _row_groups(
        self, rows: np.ndarray, places: np.ndarray
    ) -> Iterator[dict[int, dict[str, Any]]]:
        """The sound at `places` of `rows`, rising, a row group at a time: place → encoded sound."""
        groups = self.groups.holding(rows[places])
        for part in np.split(places, np.flatnonzero(np.diff(groups)) + 1):
            sound = self.groups.read(self.groups.holding(rows[part[0]]), rows[part].tolist())
            yield {place: sound[int(rows[place])] for place in part.tolist()}
