"""Cut one song: decode it once, write its clips, and measure all that later steps ask of it.

This is what worker processes do, here or on a Dask cluster. A song's record is written last, under
its final name at once: where the record stands, the clips are whole.
"""

import hashlib
import io
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import soundfile
import torch

from genreast.audio import (
    FRAME_LENGTH,
    SAMPLING_RATE,
    AudioError,
    is_long,
    load_audio,
    stream_audio,
)
from genreast.data.cuts import (
    FULL_SCALE,
    SILENCE_PEAK,
    CutSettings,
    blocks,
    clip_starts,
    read_parts,
    release,
    sounding_parts,
)
from genreast.data.fingerprint import fingerprint
from genreast.data.song_record import (
    FINGERPRINT_FILE,
    SongRecord,
    clip_mark,
    clip_name,
    file_version,
    record_path,
)
from genreast.data.tags import read_tags
from genreast.feature_stats import FeatureStats
from genreast.features import log_mel


def cut_song(source: Path, song_id: str, folder: Path, settings: CutSettings) -> SongRecord:
    """Decode the file at `source`, write its clips under `folder` and return its record.

    A file that gives no clip gives a record that says why. Raises OSError when the disk is full.
    """
    torch.set_num_threads(1)  # the other cores have songs of their own
    clips = folder / "clips" / song_id
    record_path(folder / "songs", song_id).unlink(missing_ok=True)  # it vouches for the clips
    shutil.rmtree(clips, ignore_errors=True)
    clips.mkdir(parents=True)
    record = SongRecord(
        song_id,
        version=file_version(source),
        tags=read_tags(source),  # takes no time; whatever the groups are, it is not to be cut anew
        fingerprints=settings.fingerprints,
        feature_stats=settings.feature_stats,
    )
    try:
        samples = _decode(source, clips / "decoded.raw")
        _measure(samples, record)
        if record.status == "used":
            if settings.fingerprints:
                fingerprint(samples).save(clips / FINGERPRINT_FILE)
            _write_clips(samples, record, clips, settings)
    except AudioError as error:
        record.status, record.reason = "unreadable", str(error)
    finally:
        (clips / "decoded.raw").unlink(missing_ok=True)
    if record.status != "unreadable":  # the next run tries anew: its user may have mended the cause
        record.save(folder / "songs")
    return record


def _decode(source: Path, aside: Path) -> np.ndarray:
    """A file's samples in 16 bits, shape (samples,); a long song's lie on disk, not in memory."""
    if not is_long(source):
        return _quantise(load_audio(source))
    with open(aside, "wb") as file:
        for block in stream_audio(source):
            file.write(_quantise(block))
    return np.memmap(aside, np.int16, "r") if aside.stat().st_size else np.zeros(0, np.int16)


def _quantise(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _measure(samples: np.ndarray, record: SongRecord) -> None:
    """Length, identity and loudness; a song too short or silent is marked so."""
    digest, peak = hashlib.sha256(), 0
    for block in blocks(samples):
        digest.update(block)
        peak = max(peak, int(block.max()), -int(block.min()))
    record.samples, record.recording = len(samples), digest.hexdigest()
    if len(samples) < FRAME_LENGTH:
        record.status = "too_short"
        record.reason = f"{len(samples) / SAMPLING_RATE:.3f} s; the least is 0.025 s"
    elif peak < SILENCE_PEAK:
        record.status, record.reason = "silent", "in mono never louder than -60 dBFS"


def _write_clips(
    samples: np.ndarray, record: SongRecord, folder: Path, settings: CutSettings
) -> None:
    """Write each clip as 16-bit FLAC and gather the statistics of its features."""
    stats = FeatureStats()
    marks = hashlib.sha256()
    length = round(settings.clip_seconds * SAMPLING_RATE)
    sound = sounding_parts(samples, settings.max_silence_seconds)
    ends = np.cumsum([stop - start for start, stop in sound])
    for position in clip_starts(int(ends[-1]), settings):
        clip = read_parts(samples, sound, ends, position, length)
        part = int(np.searchsorted(ends, position, side="right"))
        start = sound[part][1] - int(ends[part]) + position
        record.starts.append(start)
        record.clip_samples += len(clip)
        flac = io.BytesIO()  # written in one go: a full disk is then an OSError
        soundfile.write(flac, clip, SAMPLING_RATE, subtype="PCM_16", format="FLAC")
        content = flac.getvalue()
        (folder / clip_name(record.song_id, start)).write_bytes(content)
        marks.update(clip_mark(content, len(content)))
        if settings.feature_stats and len(clip) >= FRAME_LENGTH:
            waveform = torch.from_numpy(clip.astype(np.float32) / FULL_SCALE)
            stats.add(log_mel(waveform[None], dtype=torch.float32)[0])
        release(samples)
    record.clips = marks.hexdigest()
    if settings.feature_stats:
        record.stats = asdict(stats)
