"""Imbalanced genres: how often each is drawn, what each clip's loss weighs, and the losses."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn
from torch.utils.data import Sampler
from transformers import TrainingArguments


def class_counts(
    labels: Sequence[int], song_ids: Sequence[str], num_classes: int, count_by: str = "clip"
) -> np.ndarray:
    """Clips, or distinct songs, of each class: shape (classes,)."""
    if count_by == "song":
        labels = [label for label, _ in set(zip(labels, song_ids, strict=True))]
    return np.bincount(labels, minlength=num_classes)


def drawn_shares(counts: np.ndarray, exponent: float) -> np.ndarray:
    """Each class's share of the clips that are drawn, (classes,), in proportion to p^(1 − exponent)
    where p is its share of `counts`: as it is at 0, every class alike at 1.

    The original GenreAST repeats clips by the same rule, rounded up.
    """
    counts = np.asarray(counts)
    drawn = np.where(counts > 0, (counts / counts.sum()) ** (1.0 - exponent), 0.0)
    return drawn / drawn.sum()


def sampling_weights(labels: Sequence[int], counts: np.ndarray, exponent: float) -> np.ndarray:
    """How often each clip is drawn against the others: those of a class split its drawn share."""
    labels = np.asarray(labels)
    clips = np.bincount(labels, minlength=len(counts))
    return (drawn_shares(counts, exponent) / clips.clip(min=1))[labels]


class EpochSampler(Sampler[int]):
    """Clip indices of one epoch: each as often as its weight says, in an order of seed and epoch.

    Equal weights give a permutation. Otherwise a clip of expected count e is drawn ⌊e⌋ or ⌈e⌉
    times (systematic sampling), so that an epoch's class counts hardly vary. Every process makes
    the same order and accelerate deals it out, which keeps the sampling right on any number of
    them and after a resume.
    """

    def __init__(self, weights: Sequence[float], seed: int):
        weights = np.asarray(weights, dtype=np.float64)
        self.expected = weights / weights.sum() * len(weights)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Make the order that of `epoch`, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.expected)

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng((self.seed, self.epoch))
        yield from generator.permutation(self.draw(generator)).tolist()

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """The clips of one epoch, (clips,), in no useful order: as many as there are in all."""
        first = generator.permutation(len(self))  # which clips are rounded up must not recur
        # Equal weights side by side: a class then gets its expected count, give or take one, and
        # classes with as many clips as each other share theirs.
        first = first[np.argsort(self.expected[first], kind="stable")]
        edges = np.cumsum(self.expected[first])
        marks = np.arange(len(self)) + generator.uniform()
        return first[np.searchsorted(edges, marks * edges[-1] / len(self)).clip(max=len(self) - 1)]


def class_weights(drawn: np.ndarray, kind: str = "none", beta: float = 0.999) -> torch.Tensor:
    """Weight of each class in the loss, (classes,), scaled so that its mean over the samples drawn
    is 1: `drawn` (classes,) says how many of each class an epoch draws.

    `inverse` is 1 / n; `effective` is (1 − β) / (1 − β^n), one over the effective number of samples
    (Cui 2019, equation 2). A class without samples weighs nothing.
    """
    drawn = torch.as_tensor(drawn, dtype=torch.float64)
    if kind == "none":
        return torch.ones(len(drawn))
    raw = 1 / drawn if kind == "inverse" else (1 - beta) / (1 - beta**drawn)
    raw = torch.where(drawn > 0, raw, 0.0)
    return (raw * drawn.sum() / (raw * drawn).sum()).float()


class ClassificationLoss(nn.Module):
    """Loss of each sample for labels, one-hot or mixed: both (batch, classes) → (batch,).

    - `cross_entropy`: −Σ t log p.
    - `focal`: −Σ t (1 − p)^γ log p (Lin 2017, equation 4).
    - `logit_adjusted`: cross-entropy of logits + τ log π, π the classes' `shares` of what the loss
      meets (Menon 2021, equation 10); predictions use the plain logits.

    The targets t are the labels, each times its class's weight, with a share of `smoothing` spread
    over the classes: were smoothed labels weighed, the rare classes' weight on what is spread would
    undo most of the weighing. It is spread evenly; by the `shares` where the logits are adjusted,
    which an even spread would ask to be even. A mix has the mixed losses of its parts.

    The losses are for a sum: the caller divides by the number of samples of the whole batch over
    all processes.
    """

    def __init__(
        self,
        kind: str = "cross_entropy",
        shares: np.ndarray | None = None,
        weights: torch.Tensor | None = None,
        gamma: float = 2.0,
        tau: float = 1.0,
        smoothing: float = 0.0,
    ):
        super().__init__()
        self.kind, self.gamma, self.smoothing = kind, gamma, smoothing
        self.register_buffer("weights", weights)
        adjusted = kind == "logit_adjusted"
        spread = torch.as_tensor(shares).float() if adjusted else None
        adjustment = tau * spread.clamp(min=1e-12).log() if adjusted else None
        self.register_buffer("shares", spread)
        self.register_buffer("adjustment", adjustment)

    def targets(self, labels: torch.Tensor) -> torch.Tensor:
        """Labels weighed, then smoothed: (batch, classes) → (batch, classes)."""
        weighed = labels if self.weights is None else labels * self.weights
        spread = 1 / labels.shape[-1] if self.shares is None else self.shares
        smoothed = self.smoothing * weighed.sum(-1, keepdim=True) * spread
        return (1 - self.smoothing) * weighed + smoothed

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        if self.adjustment is not None:
            logits = logits + self.adjustment
        log_probabilities = logits.log_softmax(-1)
        terms = -self.targets(labels) * log_probabilities
        if self.kind == "focal":
            # Below γ = 1 the slope is without bound where p is 1, as it is in float32 from a margin
            # of 17 in the logits on; expm1 keeps the digits that 1 − exp loses before that.
            rest = -torch.expm1(log_probabilities)
            terms = terms * rest.clamp(min=torch.finfo(rest.dtype).tiny) ** self.gamma
        return terms.sum(-1)


def training_loss(args: TrainingArguments, counts: np.ndarray) -> ClassificationLoss:
    """The loss that a `TrainArguments` asks for, of classes with `counts` (classes,) of clips.

    Each remedy corrects only what the one before it leaves. Weights follow from how often sampling
    draws a genre; the adjustment follows from that, times the genre's weight.
    """
    shares = drawn_shares(counts, args.sampling_exponent)
    weights = class_weights(shares * counts.sum(), args.class_weights, args.effective_beta)
    return ClassificationLoss(
        args.loss,
        shares * weights.numpy(),
        weights,
        args.focal_gamma,
        args.logit_adjustment,
        args.label_smoothing_factor,
    )
