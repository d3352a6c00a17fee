"""Excerpts of a song, decoded without what lies between them.

Five windows of a song of three minutes cost a third of decoding it whole. They hold the samples
that `load_audio` gives there, to the rounding of float32.
"""

import io
from collections.abc import Callable
from math import gcd
from pathlib import Path

import numpy as np
import soundfile

from genreast.audio import (
    HIGHEST_RATE,
    LOWEST_RATE,
    SAMPLING_RATE,
    STREAM_SECONDS,
    AudioError,
    header_span,
    load_audio,
)

# Files of these kinds can be sought to the sample. Ogg's cannot tell where a chain of streams
# ends, and Opus takes as long to seek as to decode.
CONTAINERS = {"AIFF", "FLAC", "RF64", "WAV", "WAVEX"}
CODINGS = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"}
SETTLING = 64  # samples at 16 kHz: twice what the resampler's filter reaches on either side
# An MP3 frame takes up to 255 bytes out of those before it (main_data_begin of ISO 13818-3): at
# 8 kbit/s 23 frames of 24 ms. The decoder itself goes back by four.
PREROLL_SECONDS = 0.7
AGREEMENT = 0.1  # seconds; one reader of an MP3's header counts the encoder's padding, 0.05 s


class DecodeWhole(Exception):
    """The song must be decoded whole: its file cannot be sought to the sample, or too little of it
    is left out to be worth it."""


def read_excerpts(
    path: str | Path, length: int, choose: Callable[[int], list[int]]
) -> tuple[int, list[int], list[np.ndarray]]:
    """Decode the windows of `length` samples that start where `choose` says, and nothing else.

    `choose` takes the song's length and gives ascending starts, both in 16 kHz samples. Returns
    the length, the starts and the windows, float32 mono. Raises DecodeWhole.
    """
    try:
        # By its number: from a name, soundfile would take "song.raw" for samples without a header.
        with open(path, "rb") as disk, soundfile.SoundFile(disk.fileno(), closefd=False) as file:
            _check(file, path)
            _check_worth(file, length, choose)
            samples = _count(file)
            starts = choose(samples)
            return samples, starts, [_read(file, start, start + length) for start in starts]
    except (soundfile.LibsndfileError, AudioError, OSError) as error:
        raise DecodeWhole(str(error)) from error


def _check(file: soundfile.SoundFile, path: str | Path) -> None:
    """Raise DecodeWhole unless the length that a header states is the length there is."""
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE or file.channels > 2:
        raise DecodeWhole(f"{file.samplerate} Hz, {file.channels} channels")
    if file.format != "MP3" and (file.format not in CONTAINERS or file.subtype not in CODINGS):
        raise DecodeWhole(f"{file.format}, {file.subtype}")
    start, seconds = header_span(path)
    if file.format == "MP3" and not start:  # LAME's header, whose delay this is, counts the frames
        raise DecodeWhole("an MP3 file without a count of its frames")
    if seconds is None or abs(seconds - file.frames / file.samplerate) > AGREEMENT:
        raise DecodeWhole(f"{file.frames} samples by one header, {seconds} s by another")


def _check_worth(file: soundfile.SoundFile, length: int, choose: Callable) -> None:
    """Raise DecodeWhole where the windows are half the song, or more than memory should hold."""
    samples = file.frames * SAMPLING_RATE // file.samplerate
    heard = len(choose(samples)) * length
    if heard > min(samples / 2, STREAM_SECONDS * SAMPLING_RATE):
        raise DecodeWhole(f"{heard} of {samples} samples are asked for")


def _count(file: soundfile.SoundFile) -> int:
    """The song's length in 16 kHz samples: that of the part before its last second, and what the
    last second is decoded to."""
    start = max(0, file.frames * SAMPLING_RATE // file.samplerate - SAMPLING_RATE)
    return start + len(_read(file, start, None))


def _read(file: soundfile.SoundFile, start: int, stop: int | None) -> np.ndarray:
    """The samples from `start` to `stop`, or to the end, mono at 16 kHz.

    Decoding begins where a sample of the file and one at 16 kHz fall together, so that the
    resampler stands as it does when it has heard the song from its start.
    """
    common = gcd(file.samplerate, SAMPLING_RATE)
    block = max(0, start - SETTLING) * common // SAMPLING_RATE
    first, before = block * file.samplerate // common, block * SAMPLING_RATE // common
    last = file.frames
    if stop is not None:
        last = min(last, (stop + SETTLING) * file.samplerate // SAMPLING_RATE)
    preroll = round(PREROLL_SECONDS * file.samplerate) if file.format == "MP3" else 0
    position = file.seek(max(0, first - preroll))
    sound = file.read(last - position, dtype="float32")
    if len(sound) < last - position:
        raise DecodeWhole(
            f"{file.frames} samples in its header, {position + len(sound)} in the file"
        )
    wav = io.BytesIO()
    soundfile.write(wav, sound[first - position :], file.samplerate, subtype="FLOAT", format="WAV")
    excerpt = load_audio(wav.getvalue())[start - before :]
    return excerpt if stop is None else excerpt[: stop - start]
