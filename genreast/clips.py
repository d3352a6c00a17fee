"""Cut one song: decode it once, write its clips, and measure all that later steps ask of it.

This is what worker processes do, here or on a Dask cluster. A song's record is written last, under
its final name at once: where the record stands, the clips are whole.
"""

import hashlib
import json
import mmap
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from genreast.audio import (
    FRAME_LENGTH,
    SAMPLING_RATE,
    STREAM_SECONDS,
    AudioError,
    header_seconds,
    load_audio,
    stream_audio,
    window_starts,
)

FULL_SCALE = 32_768  # a clip is stored in 16 bits
SILENCE_PEAK = 10 ** (-60 / 20)  # a song that never passes −60 dBFS holds nothing to learn
STREAM_BYTES = 64 << 20  # larger files are streamed whatever their header promises


@dataclass(frozen=True)
class CutSettings:
    """How songs are cut. Two runs with equal settings make equal clips of a song."""

    clip_seconds: float
    skip_start_seconds: float = 0.0
    skip_end_seconds: float = 0.0
    max_clips_per_song: int | None = None


@dataclass
class SongRecord:
    """What is known of a song once it is cut. `starts` and `samples` are in 16 kHz samples."""

    song_id: str
    status: str = "used"
    reason: str = ""
    samples: int = 0
    starts: list[int] = field(default_factory=list)
    recording: str = ""  # sha256 of the decoded samples
    stats: dict = field(default_factory=dict)  # FeatureStats over the clips' real frames

    def save(self, folder: Path) -> None:
        """Write the record under its final name at once."""
        aside = folder / f"{self.song_id}.json.part"
        aside.write_text(json.dumps(asdict(self)))
        os.replace(aside, record_path(folder, self.song_id))

    @classmethod
    def load(cls, folder: Path, song_id: str) -> "SongRecord | None":
        """The record of a song that has been cut, or None."""
        try:
            return cls(**json.loads(record_path(folder, song_id).read_text()))
        except FileNotFoundError:
            return None


def record_path(folder: Path, song_id: str) -> Path:
    return folder / f"{song_id}.json"


def clip_name(song_id: str, start: int) -> str:
    """`<song_id>_<start>.flac`, the start in milliseconds."""
    return f"{song_id}_{round(start * 1000 / SAMPLING_RATE):08d}.flac"


def cut_song(source: Path, song_id: str, folder: Path, settings: CutSettings) -> SongRecord:
    """Decode the file at `source`, write its clips under `folder` and return its record.

    A file that gives no clip gives a record that says why. Raises OSError when the disk is full.
    """
    clips = folder / "clips" / song_id
    shutil.rmtree(clips, ignore_errors=True)
    clips.mkdir(parents=True)
    record = SongRecord(song_id)
    try:
        samples = _decode(source, clips / "decoded.raw")
        _measure(samples, record)
        if record.status == "used":
            _write_clips(samples, record, clips, settings)
    except AudioError as error:
        record.status, record.reason = "unreadable", str(error)
    finally:
        (clips / "decoded.raw").unlink(missing_ok=True)
    record.save(folder / "songs")
    return record


def clip_starts(samples: int, settings: CutSettings) -> list[int]:
    """First sample of each clip of a song: skips respected, never none.

    A song too short for the skips keeps its middle clip.
    """
    clip = round(settings.clip_seconds * SAMPLING_RATE)
    first = round(settings.skip_start_seconds * SAMPLING_RATE)
    last = samples - round(settings.skip_end_seconds * SAMPLING_RATE)
    if last - first < min(clip, samples):
        return [max((samples - clip) // 2, 0)]
    starts = [first + start for start in window_starts(last - first, clip)]
    most = settings.max_clips_per_song
    if most is None or len(starts) <= most:
        return starts
    return [starts[int((number + 0.5) * len(starts) / most)] for number in range(most)]


def _decode(source: Path, aside: Path) -> np.ndarray:
    """A file's samples in 16 bits, shape (samples,); a long song's lie on disk, not in memory."""
    seconds = header_seconds(source)
    long = source.is_file() and source.stat().st_size > STREAM_BYTES
    if not long and seconds is not None and seconds <= STREAM_SECONDS:
        return _quantise(load_audio(source))
    with open(aside, "wb") as file:
        for block in stream_audio(source):
            file.write(_quantise(block))
    return np.memmap(aside, np.int16, "r") if aside.stat().st_size else np.zeros(0, np.int16)


def _quantise(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _blocks(samples: np.ndarray):
    """The samples in blocks of a minute, so that a long song never lies in memory as a whole."""
    step = 60 * SAMPLING_RATE
    for start in range(0, len(samples), step):
        yield samples[start : start + step]
        if isinstance(samples, np.memmap):
            samples._mmap.madvise(mmap.MADV_DONTNEED)


def _measure(samples: np.ndarray, record: SongRecord) -> None:
    """Length, identity and loudness; a song too short or silent is marked so."""
    digest, peak = hashlib.sha256(), 0
    for block in _blocks(samples):
        digest.update(block)
        peak = max(peak, int(block.max()), -int(block.min()))
    record.samples, record.recording = len(samples), digest.hexdigest()
    if len(samples) < FRAME_LENGTH:
        record.status = "too_short"
        record.reason = f"{len(samples) / SAMPLING_RATE:.3f} s; the least is 0.025 s"
    elif peak < SILENCE_PEAK * FULL_SCALE:
        record.status, record.reason = "silent", "never louder than -60 dBFS"


def _write_clips(
    samples: np.ndarray, record: SongRecord, folder: Path, settings: CutSettings
) -> None:
    """Write each clip as 16-bit FLAC and gather the statistics of its features."""
    import torch

    from genreast.features import FeatureStats, log_mel

    torch.set_num_threads(1)
    stats = FeatureStats()
    length = round(settings.clip_seconds * SAMPLING_RATE)
    record.starts = clip_starts(len(samples), settings)
    for start in record.starts:
        clip = np.array(samples[start : start + length])
        path = folder / clip_name(record.song_id, start)
        soundfile.write(path, clip, SAMPLING_RATE, subtype="PCM_16", format="FLAC")
        waveform = torch.from_numpy(clip.astype(np.float32) / FULL_SCALE)
        stats.add(log_mel(waveform[None], dtype=torch.float32)[0])
    record.stats = asdict(stats)
