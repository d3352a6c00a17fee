"""What is known of a song once it is cut, in a file of its own beside its clips."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from genreast.atomic import at_once
from genreast.audio import SAMPLING_RATE
from genreast.data.cuts import CutSettings

FINGERPRINT_FILE = "fingerprint.npy"
RECORDS_FILE = "song_records.parquet"  # of all songs, in the dataset that they became
FLAC_HEAD = 42  # bytes: the MD5 of a FLAC's samples ends them (RFC 9639, section 8.2)


@dataclass
class SongRecord:
    """What is known of a song. `starts` and `samples` are in 16 kHz samples."""

    song_id: str
    status: str = "used"
    reason: str = ""
    version: list[int] = field(default_factory=list)  # the file's size and time of change
    samples: int = 0
    starts: list[int] = field(default_factory=list)
    clip_samples: int = 0  # in all clips together
    recording: str = ""  # sha256 of the decoded samples
    clips: str = ""  # sha256 over the `clip_mark` of each clip, in order
    tags: dict[str, list[str]] = field(default_factory=dict)
    fingerprints: bool = False  # whether they were asked for
    feature_stats: bool = False
    stats: dict = field(default_factory=dict)  # FeatureStats over the clips' real frames

    def save(self, folder: Path) -> None:
        """Write the record under its final name at once."""
        with at_once(record_path(folder, self.song_id)) as part:
            part.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(
        cls, folder: Path, song_id: str, source: Path, settings: CutSettings
    ) -> "SongRecord | None":
        """The record of a song that has been cut, or None, also where `parse` has none."""
        try:
            text = record_path(folder, song_id).read_text()
        except (FileNotFoundError, ValueError):
            return None
        return cls.parse(text, source, settings)

    @classmethod
    def parse(cls, text: str, source: Path, settings: CutSettings) -> "SongRecord | None":
        """A record out of its JSON, or None where its song's file has changed since, or less was
        measured than `settings` ask for.
        """
        try:
            record = cls(**json.loads(text))
        except (ValueError, TypeError):
            return None
        whole = (record.fingerprints or not settings.fingerprints) and (
            record.feature_stats or not settings.feature_stats
        )
        return record if whole and record.version == file_version(source) else None


def file_version(source: Path) -> list[int]:
    """What changes when a file does: its size in bytes and its time of change."""
    try:
        status = source.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def record_path(folder: Path, song_id: str) -> Path:
    return folder / f"{song_id}.json"


def clip_mark(head: bytes, size: int) -> bytes:
    """What a clip's file is known by without reading its sound: how it begins, and its bytes."""
    return head[:FLAC_HEAD] + size.to_bytes(8)


def clip_name(song_id: str, start: int) -> str:
    """`<song_id>_<start>.flac`, the start in milliseconds."""
    return f"{song_id}_{round(start * 1000 / SAMPLING_RATE):08d}.flac"
