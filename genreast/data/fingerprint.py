"""What a recording sounds like, in a few kilobytes: equal for copies however they were encoded.

Two views of one spectrogram. *Landmarks*, pairs of spectral peaks (Wang, "An industrial-strength
audio search algorithm", ISMIR 2003), are exact keys for an index that finds candidates. *Words*,
the signs of energy differences between 33 bands and successive frames (Haitsma and Kalker, "A
highly robust audio fingerprinting system", ISMIR 2002), tell by their bit error rate whether a
candidate is the same recording. The energies are logarithms here, and the bands reach 4 kHz for
theirs of 2 kHz. Chromaprint was tried first: it hears pitch classes alone, and on percussion and
short sounds strangers came as near to each other as copies do.
"""

import numpy as np
import torch
from torch.nn.functional import max_pool1d, pad

from genreast.audio import SAMPLING_RATE
from genreast.data.saved_prints import Fingerprint

RATE = SAMPLING_RATE // 2  # Hz, half the samples: twice as fast, and nothing below 4 kHz is lost
WINDOW = 1024  # samples, 128 ms
HOP = 320  # samples, 40 ms
SECONDS = 120  # copies agree from their start, so the beginning is enough
HIGHEST_BIN = 512  # 4 kHz: what survives a low bitrate and a low sampling rate
LOWEST_BIN = 20  # 156 Hz
BAND_EDGES = np.round(np.geomspace(300, 3990, 34) * WINDOW / RATE).astype(int)
AUDIBLE = 10**-4.5  # a frame 45 dB below the loudest one says nothing
PEAK_BINS, PEAK_FRAMES = 25, 15  # a peak is the loudest of this neighbourhood
PEAK_FLOOR = 10**-4.3  # of the loudest peak
PARTNERS = 5  # later peaks that each peak is paired with
LONGEST_PAIR = 64  # frames
DENSE_FRAMES = 30 * RATE // HOP  # all of the first 30 s is sampled densely
DENSE, SPARSE = 2, 16  # one key in so many is kept, chosen by the key itself


def fingerprint(samples: np.ndarray) -> Fingerprint:
    """The fingerprint of 16-bit samples at 16 kHz, shape (samples,)."""
    power = _spectrogram(np.array(samples[: SECONDS * SAMPLING_RATE]))
    words, audible = _words(power)
    keys, frames = _landmarks(power)
    return Fingerprint(words, audible, keys, frames)


def _spectrogram(samples: np.ndarray) -> torch.Tensor:
    """Power up to 4 kHz, (frames, 512)."""
    pairs = torch.from_numpy(samples[: len(samples) // 2 * 2]).view(-1, 2).float()
    waveform = pairs.sum(1) / 65_536
    missing = max(WINDOW + HOP - len(waveform), 0)  # two frames at least: words are differences
    waveform = pad(waveform, (0, missing))
    window = torch.hann_window(WINDOW)
    parts = []
    for frames in waveform.unfold(0, WINDOW, HOP).split(256):
        spectrum = torch.fft.rfft(frames * window)[:, :HIGHEST_BIN]
        parts.append(torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag))
    return torch.cat(parts)


def _words(power: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    bins = torch.arange(HIGHEST_BIN)[:, None]
    edges = torch.from_numpy(BAND_EDGES)
    in_band = ((bins >= edges[:-1]) & (bins < edges[1:])).float()
    bands = (power @ in_band).clamp_(min=1e-7).log_()
    slopes = bands[:, :-1] - bands[:, 1:]
    bits = (slopes[1:] > slopes[:-1]).numpy()
    loudness = power[1:].sum(1).numpy()
    audible = loudness > max(loudness.max() * AUDIBLE, 1e-6)
    return np.packbits(bits, axis=1).view(">u4")[:, 0].astype(np.uint32), audible


def _landmarks(power: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    loudest = max_pool1d(power.T, PEAK_FRAMES, stride=1, padding=PEAK_FRAMES // 2).T
    highest = max_pool1d(loudest, PEAK_BINS, stride=1, padding=PEAK_BINS // 2)
    peaks = (power == highest) & (power > max(power.max().item() * PEAK_FLOOR, 1e-6))
    peaks[:, :LOWEST_BIN] = False
    frame, frequency = (axis.numpy() for axis in torch.nonzero(peaks, as_tuple=True))
    keys, frames = [], []
    for step in range(1, PARTNERS + 1):
        gap = frame[step:] - frame[:-step]
        near = gap < LONGEST_PAIR
        key = (frequency[:-step] // 2) << 16 | (frequency[step:] // 2) << 8 | gap // 2
        keys.append(key[near].astype(np.uint32))
        frames.append(frame[:-step][near].astype(np.uint16))
    key, frame = np.concatenate(keys), np.concatenate(frames)
    lottery = (key * np.uint32(2_654_435_761)) >> np.uint32(16)  # Knuth's multiplicative hash
    kept = (lottery % SPARSE == 0) | ((lottery % DENSE == 0) & (frame < DENSE_FRAMES))
    return key[kept], frame[kept]
