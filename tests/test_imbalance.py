"""Sampling, class weights and losses, each against its formula."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from genreast.training.imbalance import (
    ClassificationLoss,
    EpochSampler,
    class_counts,
    class_weights,
    drawn_shares,
    sampling_weights,
)

LABELS = [0] * 200 + [1] * 40 + [2] * 10
COUNTS = np.array([200, 40, 10])
SHARES = COUNTS / COUNTS.sum()


def drawn(exponent: float, epoch: int = 0) -> list[int]:
    sampler = EpochSampler(sampling_weights(LABELS, COUNTS, exponent), seed=3)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_exponent_0_is_a_permutation_and_another_each_epoch():
    assert sorted(drawn(0)) == list(range(250))
    assert drawn(0) != drawn(0, epoch=1)
    assert drawn(0) == drawn(0)


@given(exponent=st.floats(0, 1), epoch=st.integers(0, 50))
@settings(max_examples=40, deadline=None)
def test_class_counts_follow_the_share_to_the_power_1_minus_exponent(exponent, epoch):
    expected = SHARES ** (1 - exponent) / (SHARES ** (1 - exponent)).sum() * 250
    indices = drawn(exponent, epoch)
    counts = np.bincount([LABELS[index] for index in indices], minlength=3)
    assert len(indices) == 250
    assert np.abs(counts - expected).max() <= 1
    times = Counter(indices)
    for label in range(3):
        each = expected[label] / COUNTS[label]
        # Each clip is drawn the floor or the ceiling of its expected count.
        of_class = {times[index] for index in range(250) if LABELS[index] == label}
        assert of_class <= {int(each), int(np.ceil(each)), round(each)}


def test_which_clips_are_drawn_together_is_another_matter_in_each_epoch():
    """Of the common class 17 in 40 clips are drawn: neighbours as often together as any."""
    heard = np.array([np.bincount(drawn(1, epoch), minlength=250)[:200] for epoch in range(300)])
    chance = heard.mean(0)
    assert chance == pytest.approx(np.full(200, 250 / 3 / 200), abs=0.12)
    together = (heard[:, 1:] * heard[:, :-1]).mean()
    assert together == pytest.approx((250 / 3 / 200) ** 2, abs=0.02)


def test_an_epoch_mixes_the_classes_from_its_beginning_to_its_end():
    labels = np.take(LABELS, drawn(1))
    for fifth in np.split(labels, 5):
        assert np.bincount(fifth, minlength=3).min() > 5  # of 50 clips


def test_counted_by_song_a_genre_of_long_songs_weighs_what_its_songs_do():
    labels = [0] * 90 + [1] * 10
    songs = [f"a{index // 30}" for index in range(90)] + [f"b{index}" for index in range(10)]
    counts = class_counts(labels, songs, 2, "song")
    assert counts.tolist() == [3, 10]
    assert class_counts(labels, songs, 2).tolist() == [90, 10]
    sampler = EpochSampler(sampling_weights(labels, counts, 1.0), seed=0)
    assert abs(sum(labels[index] for index in sampler) - 50) <= 1


def test_class_weights_follow_their_formulas_and_average_1_over_what_is_drawn():
    inverse, effective = (
        class_weights(COUNTS, kind, beta=0.99).double() for kind in ("inverse", "effective")
    )
    assert inverse * COUNTS == pytest.approx(np.full(3, 250 / 3))
    raw = (1 - 0.99) / (1 - 0.99 ** COUNTS.astype(float))  # Cui 2019, equation 2
    np.testing.assert_allclose(effective / effective[0], raw / raw[0], rtol=1e-6)
    for weights in (inverse, effective):
        assert (weights * COUNTS).sum() / 250 == pytest.approx(1)
    assert class_weights([5, 0, 5], "inverse").tolist() == [1, 0, 1]


@pytest.mark.parametrize("kind", ["inverse", "effective"])
def test_genres_drawn_alike_weigh_alike(kind):
    balanced = drawn_shares(COUNTS, 1.0) * COUNTS.sum()
    assert class_weights(balanced, kind) == pytest.approx(np.ones(3))


CLASSES = torch.arange(16) % 3


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 3, generator=generator) * 3, one_hot(CLASSES)


def one_hot(classes: torch.Tensor) -> torch.Tensor:
    return nn.functional.one_hot(classes, 3).float()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_cross_entropy_is_torchs(batch, smoothing):
    logits, labels = batch
    loss = ClassificationLoss(smoothing=smoothing)(logits, labels)
    expected = nn.functional.cross_entropy(
        logits, CLASSES, reduction="none", label_smoothing=smoothing
    )
    torch.testing.assert_close(loss, expected)
    weights = class_weights(COUNTS, "inverse")
    weighted = ClassificationLoss(weights=weights, smoothing=smoothing)(logits, labels)
    torch.testing.assert_close(weighted, weights[CLASSES] * expected)
    mixed = 0.7 * labels + 0.3 * labels.roll(1, 0)
    for one in (labels, mixed):  # torch weighs what is smoothed too
        expected = nn.functional.cross_entropy(logits, one, weights, reduction="none")
        torch.testing.assert_close(ClassificationLoss(weights=weights)(logits, one), expected)


@pytest.mark.parametrize("mix", [0.0, 0.3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["cross_entropy", "focal"])
def test_inverse_weights_ask_for_the_balanced_prior(kind, smoothing, mix):
    """Of a model that knows nothing but a bias: smoothed or mixed, where the least loss is."""
    counts = np.array([1000, 100, 10])
    weights = class_weights(counts, "inverse")
    loss = ClassificationLoss(kind, weights=weights, smoothing=smoothing)
    one, other = torch.cartesian_prod(torch.arange(3), torch.arange(3)).unbind(1)
    labels = (1 - mix) * one_hot(one) + mix * one_hot(other)
    bias = torch.zeros(3, requires_grad=True)
    drawn = torch.tensor(counts / counts.sum())
    (drawn[one] * drawn[other] * loss(bias.expand(9, 3), labels)).sum().backward()
    torch.testing.assert_close(bias.grad, torch.zeros(3), atol=1e-6, rtol=0)


def test_focal_loss_is_lins_and_cross_entropy_at_gamma_0(batch):
    logits, labels = batch
    p = logits.softmax(-1)[torch.arange(16), CLASSES]
    torch.testing.assert_close(
        ClassificationLoss("focal", gamma=2)(logits, labels), -((1 - p) ** 2) * p.log()
    )
    plain = ClassificationLoss()(logits, labels)
    torch.testing.assert_close(ClassificationLoss("focal", gamma=0)(logits, labels), plain)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0])
def test_focal_loss_has_a_slope_where_a_clip_is_certain(gamma):
    """At γ 0.5 too, and Lin's own wherever float64 can tell p from 1."""
    logits = torch.tensor([[20.0, 0, 0], [200, 0, 0], [0, 0, 0], [9, 0, 1]], requires_grad=True)
    labels = one_hot(torch.tensor([0, 0, 1, 2]))
    ClassificationLoss("focal", gamma=gamma)(logits, labels).sum().backward()
    assert logits.grad.isfinite().all()
    exact = logits.detach().double().requires_grad_()
    p = exact.softmax(-1)[torch.arange(4), [0, 0, 1, 2]][[0, 2, 3]]
    (-((1 - p) ** gamma) * p.log()).sum().backward()
    rows = [0, 2, 3]
    torch.testing.assert_close(logits.grad[rows], exact.grad[rows].float(), atol=1e-6, rtol=1e-3)


def test_logit_adjustment_is_menons(batch):
    logits, labels = batch
    loss = ClassificationLoss("logit_adjusted", SHARES, tau=1.5)(logits, labels)
    adjusted = logits + 1.5 * torch.tensor(SHARES).log()
    expected = nn.functional.cross_entropy(adjusted, CLASSES, reduction="none")
    torch.testing.assert_close(loss, expected.float(), atol=1e-5, rtol=1e-5)


def test_smoothing_by_share_leaves_the_adjusted_optimum_where_it_was():
    """With logits of zero, adjusted probabilities are the shares: nothing pulls them elsewhere."""
    loss = ClassificationLoss("logit_adjusted", SHARES, smoothing=1.0)
    logits = torch.zeros(1, 3, requires_grad=True)
    loss(logits, one_hot(torch.tensor([0]))).sum().backward()
    torch.testing.assert_close(logits.grad, torch.zeros(1, 3), atol=1e-6, rtol=0)
