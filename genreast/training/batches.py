"""Dataset rows → padded waveforms: what a DataLoader's workers do, and no more."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from genreast.audio import SAMPLING_RATE, AudioError, load_audio, window_starts
from genreast.data.columns import encoded
from genreast.errors import UserError
from genreast.features import pad_batch
from genreast.training.imbalance import EpochSampler

EMPTY = -1  # the index of a place in a batch that no clip fills
NO_LABEL = -100  # of an empty place: the Trainer counts the others
SAMPLED = 32  # clips that tell how long those of a split are


class WholeSteps(Sampler[int]):
    """The clips of an epoch, then empty places up to a whole number of `clips` a step.

    Every process then has a part of the last step. Accelerate would fill it with clips from the
    epoch's start, which so count twice.
    """

    def __init__(self, sampler: EpochSampler, clips: int):
        self.sampler, self.clips = sampler, clips

    def set_epoch(self, epoch: int) -> None:
        """Make the order that of `epoch`, counted from 0."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return math.ceil(len(self.sampler) / self.clips) * self.clips

    def __iter__(self) -> Iterator[int]:
        yield from self.sampler
        yield from [EMPTY] * (len(self) - len(self.sampler))


class ClipDataset(Dataset):
    """One split's clips as waveforms at 16 kHz, each with its label and its row number.

    Columns: `audio` (`Audio(decode=False)`), `label` and `song_id`, as `load_splits` gives them.
    """

    def __init__(self, split: datasets.Dataset):
        self.rows = split
        self.labels: list[int] = list(split["label"])
        self.song_ids: list[str] = [str(song) for song in split["song_id"]]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index == EMPTY:
            return {"waveform": np.zeros(1, np.float32), "label": NO_LABEL, "index": EMPTY}
        return decode_clip(self.rows[index]["audio"], self.labels[index], index)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """A batch, as a DataLoader asks for it: decoded on as many threads as torch has."""
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return list(pool.map(self.__getitem__, indices))

    def longest_seconds(self) -> float:
        """The longest of a few clips spread over the split, in seconds."""
        step = max(1, len(self) // SAMPLED)
        lengths = [len(self[index]["waveform"]) for index in range(0, len(self), step)]
        return max(lengths) / SAMPLING_RATE


def decode_clip(source: dict[str, Any] | None, label: int, index: int) -> dict[str, Any]:
    """Encoded sound (a dict with `bytes` or `path`) → a clip: `waveform`, `label` and `index`.

    Raises UserError when the sound cannot be decoded.
    """
    try:
        # Held as the decoder leaves them, the clips of many batches scatter over the heap, which
        # then grows by a third of a megabyte a clip for as long as a worker lives.
        waveform = load_audio(encoded(source)).copy()
    except AudioError as error:
        name = (source or {}).get("path") or f"row {index}"
        raise UserError(
            f"clip '{name}' of the dataset cannot be read: {error}; leave it out of the dataset"
            " (docs/collections.md shows how)"
        ) from error
    return {"waveform": waveform, "label": label, "index": index}


def collate(clips: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Clips → `waveforms` (batch, samples), `lengths`, `labels` and `indices` (batch,)."""
    waveforms, lengths = pad_batch(clip["waveform"] for clip in clips)
    return {
        "waveforms": waveforms,
        "lengths": lengths,
        "labels": torch.tensor([clip["label"] for clip in clips]),
        "indices": torch.tensor([clip["index"] for clip in clips]),
    }


def filled(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A batch without its empty places. Where all are empty one stays, so that this process too has
    a forward pass: the others wait for it."""
    rows = batch["labels"] != NO_LABEL
    if rows.all():
        return batch
    rows[0] |= not rows.any()
    return {key: values[rows] for key, values in batch.items()}


def split_windows(
    waveforms: torch.Tensor, lengths: torch.Tensor, window: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Clips longer than the model's window → all their windows, for evaluation.

    Returns waveforms (windows, ≤ window), their lengths and the clip each came from (windows,).
    """
    if waveforms.shape[1] <= window:
        return waveforms, lengths, torch.arange(len(lengths))
    parts, part_lengths, clips = [], [], []
    for clip, length in enumerate(lengths.tolist()):
        for start in window_starts(length, window):
            parts.append(waveforms[clip, start : start + window])
            part_lengths.append(min(window, length - start))
            clips.append(clip)
    return torch.stack(parts), torch.tensor(part_lengths), torch.tensor(clips)


def pool_windows(logits: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """Mean log-probabilities of each clip's windows: (windows, classes) → (clips, classes)."""
    if np.array_equal(clips.numpy(), np.arange(len(clips))):
        return logits
    clips = clips.to(logits.device)
    sums = torch.zeros(int(clips.max()) + 1, logits.shape[1], device=logits.device)
    sums.index_add_(0, clips, logits.float().log_softmax(-1))
    return sums / torch.bincount(clips)[:, None]
