"""Log-mel equals the stock extractor's; statistics equal two passes."""

import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor

from genreast.audio import load_audio
from genreast.feature_stats import FeatureStats
from genreast.features import LogMel, log_mel, num_frames, pad_batch


@pytest.fixture(scope="module")
def waveforms(shared_audio) -> list[np.ndarray]:
    """Real music and field recordings, longer and shorter than the model's window."""
    files = sorted(shared_audio.glob("waivops_mini/*/*.mp3"))[::11]
    files += sorted(shared_audio.glob("esc10_mini/*/*.ogg"))[::17]
    return [load_audio(path)[: 16_000 * 14] for path in files]


@pytest.mark.parametrize(
    "settings",
    [{}, {"max_length": 512}, {"mean": -3.3, "std": 4.2}, {"do_normalize": False}],
    ids=["stock", "short", "statistics", "raw"],
)
def test_equal_to_the_stock_extractor_on_real_audio(waveforms, settings):
    extractor = ASTFeatureExtractor(**settings)
    expected = extractor(waveforms, sampling_rate=16_000, return_tensors="pt")["input_values"]
    features = LogMel(extractor).eval()(*pad_batch(waveforms))
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, expected.float(), atol=1e-4, rtol=0)


def test_training_mode_stays_close_in_float32(waveforms):
    model = LogMel(ASTFeatureExtractor())
    batch = pad_batch(waveforms)
    difference = (model.train()(*batch) - model.eval()(*batch)).abs()
    assert 0 < difference.max() < 5e-3
    assert difference.mean() < 1e-6


def test_the_batch_does_not_change_a_clip():
    generator = np.random.default_rng(0)
    clips = [generator.normal(0, 0.1, length).astype(np.float32) for length in (16_000, 9_000, 300)]
    model = LogMel(ASTFeatureExtractor(mean=-4.0, std=4.0, max_length=128)).eval()
    together = model(*pad_batch(clips))
    for index, clip in enumerate(clips):
        alone = model(*pad_batch([clip]))[0]
        torch.testing.assert_close(together[index], alone, atol=1e-6, rtol=0)


def test_padding_is_zero_before_normalisation():
    model = LogMel(ASTFeatureExtractor(mean=-4.0, std=2.0, max_length=64)).eval()
    features = model(*pad_batch([np.ones(16_00, np.float32)]))[0]
    real = num_frames(1600)
    assert torch.all(features[real:] == 1.0)  # (0 − (−4)) / (2·2)
    assert not torch.any(features[:real] == 1.0)


def test_autocast_does_not_reach_the_features():
    waveform = torch.randn(1, 16_000)
    with torch.autocast("cpu", torch.bfloat16):
        features = log_mel(waveform)
    assert torch.equal(features, log_mel(waveform))


def test_frames_are_counted_as_kaldi_counts_them():
    assert [num_frames(samples) for samples in (0, 399, 400, 559, 560, 160_000)] == [
        0, 0, 1, 1, 2, 998,
    ]  # fmt: skip
    assert num_frames(torch.tensor([100, 160_000])).tolist() == [0, 998]
    with pytest.raises(ValueError, match="399 samples are shorter than one frame"):
        log_mel(torch.zeros(1, 399))


@pytest.mark.parametrize("make", [lambda: log_mel, lambda: LogMel(ASTFeatureExtractor()).eval()])
@pytest.mark.parametrize(
    "sound, words",
    [
        (torch.zeros(16_000), r"Tensor of shape \(16000,\)"),
        (torch.zeros(1, 1, 16_000), r"Tensor of shape \(1, 1, 16000\)"),
        (np.zeros((1, 16_000), np.float32), r"ndarray of shape \(1, 16000\)"),
    ],
)
def test_what_is_no_batch_of_waveforms_is_told_the_shape_that_is(make, sound, words):
    with pytest.raises(ValueError, match=rf"{words}; expected a tensor \(batch, samples\)"):
        make()(sound)


def test_statistics_equal_two_passes_in_any_parts(tmp_path):
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(frames, 128, generator=generator) * 4 - 7 for frames in (10, 900, 1, 333)]
    stats, half, other = FeatureStats(), FeatureStats(), FeatureStats()
    for index, part in enumerate(parts):
        stats.add(part)
        (half if index % 2 else other).add(part)
    half.merge(other)
    values = torch.cat(parts).double()
    for result in (stats, half):
        assert result.frames == 1244
        assert result.mean == pytest.approx(values.mean().item(), rel=1e-12)
        assert result.std == pytest.approx(values.std(correction=0).item(), rel=1e-12)
