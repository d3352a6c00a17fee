"""The sound of `make_songs.py`: voices, drums, and the mix, in plain NumPy.

All sound is float64 in [-1, 1], mono `(samples,)` until `mix` spreads it over the channels.
Pitches are MIDI note numbers (69 is A4, 440 Hz), times are seconds, rates are samples a second.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq
from scipy.signal import butter, sosfilt

TABLE_SIZE = 2048  # samples in one cycle of a stored waveform


@dataclass(frozen=True)
class Voice:
    """A pitched instrument: a stored waveform, or two-operator FM where `fm_ratio` is set."""

    attack: float  # seconds to full level
    decay: float  # time constant of the fall from full level to `sustain`, seconds
    sustain: float = 0.0  # level held until the note ends, 0 to 1
    release: float = 0.1  # seconds to silence after the note ends
    rolloff: float = 1.0  # harmonic k has the level k ** -rolloff: 1 is a sawtooth, 2 is dull
    even: float = 1.0  # level of the even harmonics: 0 sounds hollow
    shine: float = 0.3  # time constant with which the upper harmonics fade, seconds
    detune: float = 0.0  # distance between two copies of the note, cents
    vibrato: float = 0.0  # depth, cents, at 5 Hz
    fm_ratio: float = 0.0  # modulator over carrier frequency
    drive: float = 0.0  # distortion of the whole part: gain into tanh


@dataclass(frozen=True)
class Drum:
    """A percussive sound: a falling tone and a burst of filtered noise."""

    noise: float  # level of the noise beside the tone, 0 to 1
    noise_decay: float = 0.05  # time constant, seconds
    band: tuple[float, float] = (200, 9000)  # of the noise, Hz
    noise_attack: float = 0.001  # seconds
    pitch: float = 100  # final frequency of the tone, Hz
    drop: float = 0  # how far above `pitch` the tone starts, Hz
    tone_decay: float = 0.05  # time constant, seconds


VOICES = {
    "piano": Voice(0.004, 0.7, release=0.15, rolloff=1.3, shine=0.15, detune=2),
    "nylon guitar": Voice(0.003, 0.25, release=0.1, rolloff=1.5, shine=0.06),
    "clean guitar": Voice(0.003, 0.8, release=0.1, rolloff=1.1, shine=0.15, detune=5),
    "distorted guitar": Voice(0.004, 2.0, 0.5, 0.05, rolloff=1, shine=2, detune=6, drive=6),
    "electric piano": Voice(0.004, 0.8, 0.1, 0.15, fm_ratio=1, shine=0.2),
    "bell": Voice(0.002, 1.2, release=0.8, fm_ratio=3.53, shine=0.5),
    "organ": Voice(0.02, 1, 0.9, 0.06, rolloff=1.4, shine=9, vibrato=8),
    "strings": Voice(0.25, 1, 0.9, 0.4, rolloff=1.3, shine=9, detune=12, vibrato=6),
    "pad": Voice(0.7, 2, 0.8, 1.2, rolloff=2.2, shine=4, detune=14),
    "synth": Voice(0.005, 0.3, 0.4, 0.08, rolloff=0.8, shine=0.3, detune=16),
    "flute": Voice(0.06, 1, 0.8, 0.1, rolloff=2.4, shine=9, vibrato=14),
    "clarinet": Voice(0.03, 1, 0.8, 0.08, rolloff=1.5, even=0.1, shine=9, vibrato=5),
    "double bass": Voice(0.01, 0.4, release=0.08, rolloff=1.9, shine=0.08),
    "electric bass": Voice(0.005, 0.6, 0.3, 0.05, rolloff=1.4, shine=0.2),
    "synth bass": Voice(0.004, 0.2, 0.5, 0.04, rolloff=1, shine=0.1, detune=8),
}

DRUMS = {
    "kick": Drum(0.1, 0.01, (500, 5000), pitch=48, drop=160, tone_decay=0.12),
    "snare": Drum(0.6, 0.09, (900, 9000), pitch=185, drop=60, tone_decay=0.06),
    "clap": Drum(1.0, 0.08, (900, 4000), 0.012),
    "hat": Drum(1.0, 0.025, (6000, 10500)),
    "open hat": Drum(1.0, 0.15, (5500, 10500)),
    "ride": Drum(0.8, 0.3, (4500, 9500), pitch=3150, tone_decay=0.25),
    "shaker": Drum(1.0, 0.03, (4000, 9000), 0.03),
    "brush": Drum(1.0, 0.1, (1500, 6000), 0.04),
    "rim": Drum(0.2, 0.01, (1500, 8000), pitch=1750, drop=300, tone_decay=0.02),
    "tom": Drum(0.1, 0.03, (300, 3000), pitch=105, drop=60, tone_decay=0.15),
}


def midi_to_hz(pitch):
    return 440.0 * 2 ** ((pitch - 69) / 12)


@lru_cache(maxsize=4096)
def one_cycle(rolloff: float, even: float, harmonics: int) -> np.ndarray:
    """One cycle of a wave with so many harmonics, `(TABLE_SIZE,)`, at a loudness of its own."""
    number = np.arange(1, harmonics + 1)
    levels = np.power(number, -rolloff, dtype=float) * np.where(number % 2 == 0, even, 1.0)
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, complex)
    spectrum[number] = -1j * levels / np.sqrt(np.sum(levels**2))
    return irfft(spectrum, TABLE_SIZE) * TABLE_SIZE / 2


def play_note(voice: Voice, pitch: float, seconds: float, rate: int) -> np.ndarray:
    """One note, longer than `seconds` by the voice's release."""
    time = np.arange(int((seconds + voice.release) * rate)) / rate
    shine = np.exp(-time / voice.shine)
    wobble = voice.vibrato / 1200 * np.log(2) * np.sin(2 * np.pi * 5 * time) / (2 * np.pi * 5)
    wave = np.zeros_like(time)
    for cents in (-voice.detune / 2, voice.detune / 2) if voice.detune else (0,):
        hz = midi_to_hz(pitch + cents / 100)
        cycles = hz * (time + wobble)
        if voice.fm_ratio:
            modulator = np.sin(2 * np.pi * voice.fm_ratio * cycles)
            wave += np.sin(2 * np.pi * cycles + 2 * shine * modulator)
        else:  # no harmonic above the Nyquist frequency, where it would fold back
            harmonics = int(np.clip(0.45 * rate / hz, 1, 60))
            place = (cycles * TABLE_SIZE).astype(np.int64) % TABLE_SIZE
            dull = one_cycle(voice.rolloff, voice.even, min(harmonics, 3))[place]
            full = one_cycle(voice.rolloff, voice.even, harmonics)[place]
            wave += dull + (full - dull) * shine
    rise = np.minimum(time / voice.attack, 1)
    fall = voice.sustain + (1 - voice.sustain) * np.exp(-time / voice.decay)
    release = np.clip((time[-1] - time) / voice.release, 0, 1)
    return wave * rise * fall * release * (0.5 if voice.detune else 1)


def strike(drum: Drum, rate: int, rng: np.random.Generator) -> np.ndarray:
    """One hit, until its slower part has fallen by 48 dB."""
    tone_decay = 0 if drum.noise == 1 else drum.tone_decay
    time = (
        np.arange(int((drum.noise_attack + 5.5 * max(drum.noise_decay, tone_decay)) * rate)) / rate
    )
    swept = drum.drop * 0.03 * (1 - np.exp(-time / 0.03))
    tone = np.sin(2 * np.pi * (drum.pitch * time + swept)) * np.exp(-time / drum.tone_decay)
    low, high = drum.band
    band = butter(2, (low, min(high, 0.45 * rate)), "bandpass", fs=rate, output="sos")
    noise = sosfilt(band, rng.standard_normal(len(time)))
    noise *= np.minimum(time / drum.noise_attack, 1) * np.exp(-time / drum.noise_decay)
    noise /= np.max(np.abs(noise))
    return (1 - drum.noise) * tone + drum.noise * noise


def add(track: np.ndarray, sound: np.ndarray, start: int) -> None:
    """Add `sound` to `track` in place from sample `start`, cutting what lies outside."""
    start = max(start, 0)
    part = sound[: max(len(track) - start, 0)]
    track[start : start + len(part)] += part


def mix(tracks, pans, channels: int, rate: int, tilt: float, reverb: float, room: float, rng):
    """Pan, tilt and reverberate the tracks: `(samples, channels)`.

    `tilt` is in dB an octave around 1 kHz, `reverb` the level of the room beside the dry sound,
    `room` the time in seconds in which the room falls by 60 dB.
    """
    samples = len(tracks[0])
    size = next_fast_len(samples + int(room * rate), real=True)
    octaves = np.log2(np.maximum(rfftfreq(size, 1 / rate), 40) / 1000)
    equaliser = 10 ** (tilt * octaves / 20)
    time = np.arange(int(room * rate)) / rate
    output = np.empty((samples, channels))
    for channel in range(channels):
        side = 0 if channels == 1 else 2 * channel - 1
        dry = sum(track * (1 + side * pan) for track, pan in zip(tracks, pans, strict=True))
        tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / room)
        tail *= reverb / np.sqrt(np.sum(tail**2))
        response = equaliser * (1 + rfft(tail, size))
        output[:, channel] = irfft(rfft(dry, size) * response, size)[:samples]
    return output
