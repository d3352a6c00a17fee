"""Augmentation: what may change, what must not, and that a seed decides it."""

import pytest
import torch
from scipy import stats

from genreast.training.augment import (
    Augmentation,
    gain,
    kept_tokens,
    mixup,
    random_crop,
    roll,
    spec_augment,
)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def waveforms() -> tuple[torch.Tensor, torch.Tensor]:
    """Three clips whose samples count up from 1, zero-padded; the last is one sample long."""
    lengths = torch.tensor([1000, 600, 1])
    positions = torch.arange(1000).expand(3, -1)
    return torch.where(positions < lengths[:, None], positions + 1.0, 0.0), lengths


def test_roll_keeps_every_sample_and_the_padding(waveforms, generator):
    clips, lengths = waveforms
    rolled = roll(clips, lengths, generator)
    assert not torch.equal(rolled, clips)
    for before, after, length in zip(clips, rolled, lengths, strict=True):
        assert torch.equal(after[:length].sort().values, before[:length])
        assert not after[length:].any()
        steps = after[:length].diff()
        assert ((steps == 1) | (steps == 1 - length)).all()  # in order, around the end


def test_gain_scales_each_clip_within_its_range(waveforms, generator):
    clips, _ = waveforms
    ratio = (gain(clips[:1].expand(200, -1), 6.0, generator) / clips[:1])[:, 0]
    assert len(ratio.unique()) > 190
    decibels = 20 * ratio.log10()
    assert -6 <= decibels.min() < -5 and 5 < decibels.max() <= 6, "softer, and louder"


def test_crop_takes_a_stretch_of_real_samples(waveforms):
    clips, lengths = waveforms
    firsts = set()
    for seed in range(20):
        cropped, kept = random_crop(clips, lengths, 500, torch.Generator().manual_seed(seed))
        assert cropped.shape == (3, 500) and kept.tolist() == [500, 500, 1]
        assert (cropped[:2].diff() == 1).all() and cropped[1, -1] <= 600
        assert torch.equal(cropped[2], clips[2, :500])
        firsts.add(cropped[0, 0].item())
    assert len(firsts) > 10
    assert random_crop(clips, lengths, 2000, torch.Generator())[0].shape == (3, 1000)


def test_mixup_mixes_sound_and_target_by_the_same_share(generator):
    clips = torch.eye(4).repeat_interleave(10, dim=1)
    targets = torch.eye(4)
    lengths = torch.tensor([40, 30, 20, 10])
    mixed, new_lengths, soft = mixup(clips, lengths, targets, 0.5, generator)
    torch.testing.assert_close(mixed[:, ::10], soft)
    torch.testing.assert_close(soft.sum(1), torch.ones(4))
    assert (soft > 0).sum(1).max() == 2
    for index in range(4):
        assert new_lengths[index] == lengths[soft[index] > 0].max() or soft[index].max() > 1 - 1e-6


@pytest.mark.parametrize("alpha", [1e-3, 0.02, 0.3, 1, 100])
def test_shares_of_mixup_are_drawn_from_beta(alpha, generator):
    """Each is read from how far a target was drawn to another."""
    targets = torch.arange(4000)[:, None].double()
    _, _, soft = mixup(torch.ones(4000, 1), torch.ones(4000), targets, alpha, generator)
    others = targets[torch.randperm(4000, generator=generator.manual_seed(0))]
    shares = ((soft - others) / (targets - others))[targets != others].numpy()
    edges = [0.01, 0.1, 0.4, 0.6, 0.9, 0.99]
    found = [(shares <= edge).mean() for edge in edges]
    assert found == pytest.approx(stats.beta(alpha, alpha).cdf(edges), abs=0.03)


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_as_many_batches_are_mixed_as_asked_for(share, generator):
    augmentation = Augmentation(mixup_alpha=0.3, mixup_probability=share)
    clips, lengths, targets = torch.eye(4), torch.full((4,), 4), torch.eye(4)
    mixed = [
        not torch.equal(augmentation.waveforms(clips, lengths, targets, generator)[2], targets)
        for _ in range(200)
    ]
    assert sum(mixed) / 200 == pytest.approx(share, abs=0.1)


def test_spec_augment_masks_real_frames_only(generator):
    features = torch.ones(200, 100, 128)
    frames = torch.full((200,), 60)
    masked = spec_augment(features, frames, time_width=40, mel_width=20, generator=generator)
    assert (masked[:, 60:] == 1).all()
    silent_frames = (masked[:, :60] == 0).all(2).sum(1)
    silent_bins = (masked[:, :60] == 0).all(1).sum(1)
    assert silent_frames.max() == 30  # never more than half of what is real
    assert silent_bins.max() == 20 and silent_bins.min() == 0
    starts = (masked[:, :60] == 0).all(2).float().argmax(1)
    assert starts.unique().numel() > 20


def test_a_mask_wider_than_there_are_bins_seldom_covers_them_all(generator):
    """Widths of 0 to 8 bins are drawn alike, whatever more was asked for."""
    features, frames = torch.ones(900, 10, 8), torch.full((900,), 10)
    masked = spec_augment(features, frames, time_width=0, mel_width=80, generator=generator)
    widths = (masked == 0).all(1).sum(1)
    assert (torch.bincount(widths, minlength=9) - 100).abs().max() < 40


@pytest.mark.parametrize(
    ("kind", "expected"), [("unstructured", 303), ("time", 12 * 25), ("frequency", 3 * 101)]
)
def test_patchout_keeps_the_special_tokens_and_the_share_asked_for(kind, expected, generator):
    tokens = kept_tokens((12, 101), 0.75, kind, generator)
    assert tokens[:2].tolist() == [0, 1]
    assert len(tokens) == 2 + expected and len(tokens.unique()) == len(tokens)
    assert (tokens.diff() > 0).all() and tokens.max() < 2 + 12 * 101
    grid = torch.zeros(12 * 101)
    grid[tokens[2:] - 2] = 1
    grid = grid.reshape(12, 101)
    if kind == "time":
        assert set(grid.sum(0).tolist()) == {0, 12}
    if kind == "frequency":
        assert set(grid.sum(1).tolist()) == {0, 101}


@pytest.mark.parametrize("kind", ["unstructured", "time", "frequency"])
def test_patchout_leaves_something_to_hear_of_the_shortest_window(kind, generator):
    assert kept_tokens((1, 1), 0.9, kind, generator).tolist() == [0, 1, 2]


def test_a_seed_decides_everything(waveforms):
    clips, lengths = waveforms
    augmentation = Augmentation(96, 24, 0.3, 0.5, True, 6.0)

    def augmented(seed: int) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        sound = augmentation.waveforms(clips, lengths, torch.eye(3), generator)
        return [*sound, augmentation.features(torch.ones(3, 100, 128), sound[1] * 16, generator)]

    for one, two in zip(augmented(1), augmented(1), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(augmented(1)[0], augmented(2)[0])
