"""Log-mel features: what `ASTFeatureExtractor` computes, in one batched torch call on any device.

Waveforms travel and features are made where the model is. The published `preprocessor_config.json`
stays the stock extractor's: a test holds both equal to 1e-4.
"""

import warnings
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import torch
from torch import nn

from genreast.audio import FRAME_LENGTH, FRAME_SHIFT, SAMPLING_RATE

NUM_MEL_BINS = 128
FFT_LENGTH = 512
PREEMPHASIS = 0.97  # Kaldi's default, as in the AST paper's front end (Gong 2021, section 2.1)
MEL_FLOOR = torch.finfo(torch.float32).eps  # Kaldi's floor under the logarithm
LOWEST_FREQUENCY = 20.0  # Hz
BANDS = 8  # of mel filters, on a CPU


def num_samples(frames: int) -> int:
    """The samples that so many frames span."""
    return (frames - 1) * FRAME_SHIFT + FRAME_LENGTH


def num_frames(samples: int | torch.Tensor) -> int | torch.Tensor:
    """Frames of 25 ms every 10 ms that lie wholly inside `samples` samples, as Kaldi counts."""
    frames = (samples - FRAME_LENGTH) // FRAME_SHIFT + 1
    return frames.clamp(min=0) if isinstance(frames, torch.Tensor) else max(frames, 0)


@lru_cache(maxsize=4)
def _filters_and_window(
    num_mel_bins: int, device: torch.device, dtype: torch.dtype
) -> tuple[list[tuple[slice, torch.Tensor]], torch.Tensor]:
    """Kaldi's triangular mel filters and Hann window (400,).

    The filters are bands (frequencies, mel bins), each with its slice of the 257 frequencies.
    """
    from transformers.audio_utils import mel_filter_bank

    with warnings.catch_warnings():
        # 128 bins over 257 frequencies leave the lowest filters empty; AST was trained so.
        warnings.filterwarnings("ignore", message="At least one mel filter")
        filters = mel_filter_bank(
            num_frequency_bins=FFT_LENGTH // 2 + 1,
            num_mel_filters=num_mel_bins,
            min_frequency=LOWEST_FREQUENCY,
            max_frequency=SAMPLING_RATE // 2,
            sampling_rate=SAMPLING_RATE,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        )
    window = torch.hann_window(FRAME_LENGTH, periodic=False, dtype=torch.float64)
    # Few of the frequencies are in a filter. A CPU gains from leaving the others out, in bands of
    # neighbouring filters; a GPU is faster with one product of all.
    bands = []
    for part in np.array_split(filters, BANDS if device.type == "cpu" else 1, axis=1):
        used = np.flatnonzero(part.any(axis=1))
        band = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
        bands.append((band, torch.from_numpy(part[band].copy()).to(device, dtype)))
    return bands, window.to(device, dtype)


def log_mel(
    waveforms: torch.Tensor, num_mel_bins: int = NUM_MEL_BINS, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """Natural logarithm of Kaldi's mel power, (batch, samples) at 16 kHz → (batch, frames, mel).

    In float64 the result is the extractor's to 1e-4. In float32, two to three times faster, the
    quietest bins of a loud frame are off by up to a few 1e-4 after normalisation.

    Raises ValueError for what is no such tensor, and for one of less than a frame of 400 samples.
    """
    if not isinstance(waveforms, torch.Tensor) or waveforms.ndim != 2:
        raise ValueError(
            f"waveforms are a {type(waveforms).__name__} of shape {tuple(np.shape(waveforms))};"
            " expected a tensor (batch, samples), as torch.from_numpy(samples)[None] of one"
        )
    if waveforms.shape[-1] < FRAME_LENGTH:
        raise ValueError(
            f"{waveforms.shape[-1]} samples are shorter than one frame of {FRAME_LENGTH} (25 ms)"
        )
    if waveforms.device.type == "mps":
        dtype = torch.float32  # Apple's GPUs have no float64
    filters, window = _filters_and_window(num_mel_bins, waveforms.device, dtype)
    # A few clips at a time stay in a CPU's cache: twice as fast there, and no matter on a GPU.
    parts = waveforms.split(2 if waveforms.device.type == "cpu" else 64)
    with torch.autocast(waveforms.device.type, enabled=False):
        return torch.cat([_log_mel(part.to(dtype), filters, window) for part in parts])


def _log_mel(
    waveforms: torch.Tensor, filters: list[tuple[slice, torch.Tensor]], window: torch.Tensor
) -> torch.Tensor:
    frames = waveforms.unfold(-1, FRAME_LENGTH, FRAME_SHIFT)
    frames = frames - frames.mean(-1, keepdim=True)
    # Written into rows as long as the FFT: to have it pad them costs a copy of all.
    padded = frames.new_empty((*frames.shape[:-1], FFT_LENGTH))
    emphasised, padding = padded.split([FRAME_LENGTH, FFT_LENGTH - FRAME_LENGTH], dim=-1)
    torch.sub(frames[..., 1:], frames[..., :-1], alpha=PREEMPHASIS, out=emphasised[..., 1:])
    emphasised[..., 0] = frames[..., 0] * (1 - PREEMPHASIS)
    emphasised.mul_(window)
    padding.zero_()
    spectrum = torch.fft.rfft(padded)
    power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)
    mel = torch.cat([power[..., band] @ part for band, part in filters], dim=-1)
    return mel.clamp_(min=MEL_FLOOR).log_().float()


class LogMel(nn.Module):
    """Waveforms to a model's input, as a loaded `ASTFeatureExtractor` makes it: log-mel, zero pad
    or cut to `max_length` frames, normalise.

    Normalisation is (x − mean) / (2·std) and comes after the padding: a padded frame reads
    −mean / (2·std), which is not silence. In training mode features are made in float32, for speed;
    in evaluation mode in float64, for exactness, if `exact`.
    """

    def __init__(self, extractor, exact: bool = True):
        super().__init__()
        self.exact = exact
        normalised = extractor.do_normalize
        self.mean, self.std = (extractor.mean, extractor.std) if normalised else (0.0, 0.5)
        self.max_length, self.num_mel_bins = extractor.max_length, extractor.num_mel_bins

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """(batch, samples) and the real samples of each (batch,) → (batch, max_length, mel)."""
        dtype = torch.float64 if self.exact and not self.training else torch.float32
        waveforms = waveforms[..., : num_samples(self.max_length)]
        features = log_mel(waveforms, self.num_mel_bins, dtype)
        if lengths is not None:
            real = num_frames(lengths).to(features.device)
            positions = torch.arange(features.shape[1], device=features.device)
            features = features.masked_fill((positions >= real[:, None])[..., None], 0.0)
        missing = self.max_length - features.shape[1]
        features = nn.functional.pad(features, (0, 0, 0, missing))
        return (features - self.mean) / (2 * self.std)


def pad_batch(waveforms: Iterable[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Arrays of unequal length → zero-padded (batch, samples) and their lengths (batch,).

    A batch is never shorter than one frame, so that the shortest clip still has a shape.
    """
    arrays = [torch.as_tensor(waveform, dtype=torch.float32) for waveform in waveforms]
    lengths = torch.tensor([len(array) for array in arrays])
    width = max(int(lengths.max()), FRAME_LENGTH)
    padded = torch.zeros(len(arrays), width)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded, lengths
