"""Augmentation on the device, batched and seeded: of waveforms, of log-mel features, of patches.

Each function draws its numbers from a CPU generator, so that a seed gives the same augmentation on
every device. Nothing here runs in evaluation.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import nn
from transformers import ASTForAudioClassification, TrainingArguments

from genreast.features import num_frames


@dataclass
class Augmentation:
    """What to do to a training batch; zeros do nothing."""

    mask_time_frames: int = 0
    mask_mel_bins: int = 0
    mixup_alpha: float = 0.0
    mixup_probability: float = 0.0
    time_roll: bool = False
    gain_db: float = 0.0

    @classmethod
    def from_settings(cls, args: TrainingArguments) -> "Augmentation":
        """As the settings of the same names in a `TrainArguments` say."""
        return cls(**{item.name: getattr(args, item.name) for item in fields(cls)})

    def waveforms(
        self,
        waveforms: torch.Tensor,
        lengths: torch.Tensor,
        targets: torch.Tensor,
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Roll, gain, mixup: (batch, samples), real lengths (batch,), targets (batch, classes)."""
        if self.time_roll:
            waveforms = roll(waveforms, lengths, generator)
        if self.gain_db:
            waveforms = gain(waveforms, self.gain_db, generator)
        if self.mixup_alpha and _uniform(1, generator).item() < self.mixup_probability:
            return mixup(waveforms, lengths, targets, self.mixup_alpha, generator)
        return waveforms, lengths, targets

    def features(
        self, features: torch.Tensor, lengths: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """SpecAugment of normalised log-mel (batch, frames, mel) with real lengths in samples."""
        if not (self.mask_time_frames or self.mask_mel_bins):
            return features
        frames = num_frames(lengths).clamp(max=features.shape[1])
        return spec_augment(features, frames, self.mask_time_frames, self.mask_mel_bins, generator)


def random_crop(
    waveforms: torch.Tensor, lengths: torch.Tensor, window: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random `window` samples of each clip that is longer: (batch, ≤ window) and lengths."""
    spare = (lengths.cpu() - window).clamp(min=0)
    starts = torch.minimum((_uniform(len(lengths), generator) * (spare + 1)).long(), spare)
    if not spare.any():
        return waveforms[:, :window], lengths
    crops = [
        waveform[start : start + window]
        for waveform, start in zip(waveforms, starts.tolist(), strict=True)
    ]
    return torch.stack(crops), lengths.clamp(max=window)


def roll(
    waveforms: torch.Tensor, lengths: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Each clip rolled by a random time within its real samples; padding stays at the end."""
    real = lengths.cpu()
    shifts = (_uniform(len(real), generator) * real).long()
    rolled = waveforms.clone()
    for row, (length, shift) in enumerate(zip(real.tolist(), shifts.tolist(), strict=True)):
        rolled[row, :length] = waveforms[row, :length].roll(-shift)
    return rolled


def gain(waveforms: torch.Tensor, decibels: float, generator: torch.Generator) -> torch.Tensor:
    """Each clip louder or softer by a random −decibels to +decibels."""
    drawn = (2 * _uniform(len(waveforms), generator) - 1) * decibels
    return waveforms * (10 ** (drawn / 20)).to(waveforms.device)[:, None]


def mixup(
    waveforms: torch.Tensor,
    lengths: torch.Tensor,
    targets: torch.Tensor,
    alpha: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Each clip mixed with another of the batch, λ ~ Beta(α, α), targets alike (Zhang 2018).

    Waveforms are mixed, as AST's own recipe does; a mix is as long as its longer part.
    """
    order = torch.randperm(len(waveforms), generator=generator).to(waveforms.device)
    share = _beta(alpha, len(waveforms), generator).to(waveforms.device)[:, None]
    mixed = share * waveforms + (1 - share) * waveforms[order]
    return (
        mixed,
        torch.maximum(lengths, lengths[order.to(lengths.device)]),
        share * targets + (1 - share) * targets[order],
    )


def spec_augment(
    features: torch.Tensor,
    frames: torch.Tensor,
    time_width: int,
    mel_width: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """One time mask and one mel mask a clip, each of random width, set to the mean (Park 2019).

    `features` are normalised, so the mean is 0. Time masks fall on the `frames` (batch,) real
    frames only and cover at most half of them; mel masks leave the padding as it is too.
    """
    frames = frames.to(features.device)
    batch, length, mel = features.shape
    time_widths = torch.minimum(
        (_uniform(batch, generator) * (time_width + 1)).long().to(frames), frames // 2
    )
    mel_widths = (_uniform(batch, generator) * (min(mel_width, mel) + 1)).long().to(frames)
    time_starts = (_uniform(batch, generator).to(frames.device) * (frames - time_widths + 1)).long()
    mel_starts = (_uniform(batch, generator).to(frames.device) * (mel - mel_widths + 1)).long()
    times = torch.arange(length, device=features.device)[None]
    bins = torch.arange(mel, device=features.device)[None]
    in_time = (times >= time_starts[:, None]) & (times < (time_starts + time_widths)[:, None])
    in_mel = (bins >= mel_starts[:, None]) & (bins < (mel_starts + mel_widths)[:, None])
    real = times < frames[:, None]
    return features.masked_fill((in_time[..., None] | in_mel[:, None]) & real[..., None], 0.0)


def kept_tokens(
    grid: tuple[int, int], share: float, kind: str, generator: torch.Generator
) -> torch.Tensor:
    """Patchout: sorted indices of the tokens that stay, for a grid of (mel, time) patches.

    `share` of the patches goes: single patches (unstructured), whole columns (time) or whole rows
    (frequency), the same for the whole batch (Koutini 2022, section 3.2). The two special tokens
    at the front always stay.
    """
    rows, columns = grid
    patches = torch.arange(rows * columns).reshape(rows, columns)
    if kind == "unstructured":
        kept = patches.flatten()[_kept(rows * columns, share, generator)]
    elif kind == "time":
        kept = patches[:, _kept(columns, share, generator)].flatten()
    else:
        kept = patches[_kept(rows, share, generator)].flatten()
    return torch.cat([torch.arange(2), kept + 2])


def _kept(count: int, share: float, generator: torch.Generator) -> torch.Tensor:
    keep = max(1, count - round(count * share))
    return torch.randperm(count, generator=generator)[:keep].sort().values


def _uniform(count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(count, generator=generator)


def _beta(alpha: float, count: int, generator: torch.Generator) -> torch.Tensor:
    """Beta(α, α), (count,), drawn as a ratio of Gammas, for torch's Beta takes no generator.

    In logs, for the Gammas of a small α underflow: one of α is one of α + 1 times U^(1/α)
    (Marsaglia and Tsang 2000, section 6).
    """
    shapes = torch.full((2, count), alpha + 1, dtype=torch.float64)
    uniform = 1 - torch.rand(2, count, dtype=torch.float64, generator=generator)  # never 0
    logs = torch._standard_gamma(shapes, generator=generator).log() + uniform.log() / alpha
    return torch.sigmoid(logs[0] - logs[1]).float()


@contextlib.contextmanager
def patchout(
    model: ASTForAudioClassification, share: float, kind: str, generator: torch.Generator
) -> Iterator[None]:
    """Leave out a share of the patches during one forward pass (Koutini 2022, section 3.2)."""
    if not share:
        yield
        return
    embeddings = model.audio_spectrogram_transformer.embeddings
    kept = kept_tokens(embeddings.get_shape(model.config), share, kind, generator)

    def drop(module: nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        return output[:, kept.to(output.device)]

    hook = embeddings.register_forward_hook(drop)
    try:
        yield
    finally:
        hook.remove()
