"""Sound: any audio file as mono 16 kHz samples, and the windows of a song.

FFmpeg decodes and resamples, through torchcodec for whole songs and through the `ffmpeg` program
for streams. Both give the samples that `transformers.pipeline` makes of the same file.
"""

import contextlib
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from genreast.allocator import give_back_after

SAMPLING_RATE = 16_000  # Hz, what every Audio Spectrogram Transformer hears
CLIP_SECONDS = 10.0  # the length of AudioSet's clips, and of the original GenreAST's
FRAME_LENGTH = 400  # samples, 25 ms: Kaldi's frame, the least that has a spectrum
FRAME_SHIFT = 160  # samples, 10 ms
LOWEST_RATE, HIGHEST_RATE = 2_000, 768_000  # Hz, of files that can be recordings
BLOCK_SECONDS = 60  # of a long song, which never lies in memory as a whole
STREAM_SECONDS = 1200  # a longer song is streamed: 20 minutes of float32 are 77 MB
SHORT_BYTES = STREAM_SECONDS * 3000  # 24 kbit/s: a smaller file need not be asked its length
WHOLE = 0.75  # of what a header promises: less may be the decoder's doing, not the header's
STREAM_BYTES = 64 << 20  # larger files are streamed whatever their header promises
NOT_OPENED = {  # how FFmpeg says that there is nothing to decode: what is told of it
    "No such file or directory": "no such file",
    "Permission denied": "it may not be read",
    "Is a directory": "a folder, no file",
}


class AudioError(Exception):
    """Sound that cannot be used; the text is the cause, in the decoder's words where it has any."""


class ImpossibleRate(AudioError):
    """A header that states a rate no recording has: resampling from it could fill a disk."""


def load_audio(source: str | Path | bytes) -> np.ndarray:
    """Decode a whole file (or its bytes) to float32 mono samples at 16 kHz, shape (samples,).

    Raises AudioError when nothing in it can be decoded.
    """
    if source == b"":
        raise AudioError("there is no sound in it")
    samples, promised, failure = np.zeros(0, np.float32), math.inf, None
    try:
        samples, promised = _decode(source)
    except ImpossibleRate:
        raise
    except AudioError as error:
        failure = error
    if len(samples) < WHOLE * promised:
        # The library stops at a broken stretch, which the program skips, and takes one frame of
        # each packet: ADPCM's packets in a wav hold four.
        with contextlib.suppress(AudioError):
            samples = max(samples, _load_with_program(source), key=len)
    if failure and not len(samples):
        raise failure
    give_back_after(samples.nbytes)
    return samples


def _decode(source: str | Path | bytes) -> tuple[np.ndarray, float]:
    """A file's samples as torchcodec decodes them, and how many its header promises, or 0."""
    from torchcodec.decoders import AudioDecoder

    try:
        decoder = AudioDecoder(
            source if isinstance(source, bytes) else _file_argument(source),
            sample_rate=SAMPLING_RATE,
            num_channels=1,
        )
        header = decoder.metadata
        rate = header.sample_rate
        if rate is not None and not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise ImpossibleRate(f"{rate} Hz in its header; {LOWEST_RATE} to {HIGHEST_RATE} can be")
        samples = decoder.get_all_samples().data[0].numpy()
    except (RuntimeError, ValueError, OSError) as error:
        raise AudioError(_decoder_words(str(error), source)) from error
    return _finite(samples), SAMPLING_RATE * (header.duration_seconds_from_header or 0)


def _load_with_program(source: str | Path | bytes) -> np.ndarray:
    if not isinstance(source, bytes):
        return np.concatenate(list(stream_audio(source)))
    with tempfile.NamedTemporaryFile() as file:
        file.write(source)
        file.flush()
        return np.concatenate(list(stream_audio(file.name)))


def stream_audio(path: str | Path) -> Iterator[np.ndarray]:
    """Decode a file block by block in flat memory: float32 mono arrays at 16 kHz.

    Together the blocks equal `load_audio(path)`. Every block but the last holds a minute. Raises
    AudioError when nothing can be decoded, and for a pipe: what has been read of it is gone, and a
    named one would be waited for.
    """
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise AudioError("a pipe is read once")
    if not shutil.which("ffmpeg"):
        raise AudioError("the program `ffmpeg` is not installed")
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", _file_argument(path), "-vn"]
    command += ["-ac", "1", "-ar", str(SAMPLING_RATE), "-f", "f32le", "pipe:1"]
    block_bytes = 4 * BLOCK_SECONDS * SAMPLING_RATE  # of float32
    empty = True
    # A damaged file can bring more complaints than a pipe holds: they go to a file.
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints) as process,
    ):
        try:
            while block := process.stdout.read(block_bytes):
                empty = False
                yield _finite(np.frombuffer(block[: len(block) // 4 * 4], np.float32))
            if empty:
                complaints.seek(0)
                words = complaints.read(10_000).decode(errors="replace").strip()
                raise AudioError(_decoder_words(words, path))
        finally:
            process.kill()


def is_long(path: str | Path) -> bool:
    """Whether a file may hold more than memory should: by its size, else by its header."""
    size = os.path.getsize(path) if os.path.isfile(path) else 0
    if size <= SHORT_BYTES or size > STREAM_BYTES:
        return size > STREAM_BYTES
    _, seconds = header_span(path)
    return seconds is None or seconds > STREAM_SECONDS


def header_span(path: str | Path) -> tuple[float | None, float | None]:
    """Where a file's header says that its sound starts and how long it lasts, in seconds, each
    None where it says nothing. Never trust it: files decode to less."""
    from torchcodec.decoders import AudioDecoder

    try:
        header = AudioDecoder(_file_argument(path)).metadata
    except (RuntimeError, ValueError, OSError):
        return None, None
    return header.begin_stream_seconds_from_header, header.duration_seconds_from_header


def window_starts(samples: int, window: int, hop: int | None = None) -> list[int]:
    """First sample of each window of a song: every `hop` samples, the last one flush with the end.

    Windows never hold padding unless the whole song is shorter than one, which gives [0]. A
    remainder under half a hop is left out: it would repeat most of the window before it.
    """
    if window <= 0 or (hop is not None and hop <= 0):
        raise ValueError(f"window {window} and hop {hop} must be above 0 samples")
    hop = hop or window
    last = samples - window
    if last <= 0:
        return [0]
    starts = list(range(0, last + 1, hop))
    if last - starts[-1] >= hop / 2:
        starts.append(last)
    return starts


def spread_evenly(starts: list[int], most: int | None) -> list[int]:
    """`most` of the starts, each the middle one of as many equal parts; all where they are fewer,
    or `most` is None.
    """
    if most is None or len(starts) <= most:
        return starts
    return [starts[int((number + 0.5) * len(starts) / most)] for number in range(most)]


def _finite(samples: np.ndarray) -> np.ndarray:
    """Samples with NaN and infinity (float files hold them) made silent: one spoils a batch."""
    if np.isfinite(samples).all():
        return samples
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)


def _file_argument(path: str | Path) -> str:
    """A path FFmpeg takes for a file even if it begins with a dash, holds a colon or is a URL."""
    return f"file:{path}"


def _decoder_words(message: str, source: str | Path | bytes = b"") -> str:
    """The cause in a decoder's message, without the place in its source code or the file's path."""
    if not isinstance(source, bytes) and os.path.isfile(source) and not os.path.getsize(source):
        return "the file is empty (0 bytes)"
    line = message.strip().splitlines()[0] if message.strip() else "no audio in it"
    for ending, words in NOT_OPENED.items():
        if line.endswith(ending):
            return words
    line = line.split(", ", 2)[-1] if ".cpp:" in line else line
    if "No audio frames were decoded" in line or "best audio stream is unknown" in line:
        return "no audio in it"
    if line.startswith("Could not open input file"):
        line = line.removeprefix(f"Could not open input file: {_file_argument(source)} ")
        return f"not audio FFmpeg can open ({line})"
    line = re.sub(r"^(\[[^]]* @ 0x[0-9a-f]+\] )+", "", line)  # an address differs at each run
    return line.replace(f"{_file_argument(source)}: ", "").strip()
