"""The folder beside the output in which a dataset is made, so that a stopped run can go on.

`<output>.work/` holds `settings.json`, a record and the clips of each song that is cut, and at the
end the whole dataset, which is renamed to the output's name. Until then nothing bears that name.
Where the songs that can be used are too few for one, `songs.csv` there says why.
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from genreast import __version__
from genreast.arguments import PrepareArguments
from genreast.atomic import at_once
from genreast.data.cuts import CutSettings
from genreast.data.genres import Library
from genreast.data.seals import check_replaceable
from genreast.data.song_record import file_version
from genreast.data.song_table import SONGS_FILE
from genreast.data.songs import is_junk
from genreast.errors import UserError, check_writable
from genreast.lock import alone
from genreast.tables import is_table

SETTINGS_FILE = "settings.json"
PUBLISHED_FILE = "published.json"  # written just before the dataset gets its name
PARTS = {f"{SETTINGS_FILE}.part", f"{PUBLISHED_FILE}.part"}
OURS = {"songs", "clips", "dataset", "replaced", SONGS_FILE, SETTINGS_FILE, PUBLISHED_FILE, *PARTS}
MARK = "genreast"  # the key of our version, which both files hold
MEASURED = ("fingerprints", "feature_stats")  # beside the clips: each record knows its own
ANY_WAY = ("num_workers", "dask", "strict", "clips_from")  # the same dataset whatever they are


def cut_settings(args: PrepareArguments) -> CutSettings:
    """The part of the settings that decides what a song's clips and record hold."""
    return CutSettings(
        clip_seconds=args.clip_seconds,
        skip_start_seconds=args.skip_start_seconds,
        skip_end_seconds=args.skip_end_seconds,
        max_clips_per_song=args.max_clips_per_song,
        max_silence_seconds=args.max_silence_seconds,
        fingerprints=args.duplicates == "group",
        feature_stats=args.feature_stats,
    )


class WorkFolder:
    """A dataset in the making, held by one run at a time.

    Entering raises UserError when another run holds it. So does making one for an output that is
    a mount point, for a finished dataset is renamed to its place.
    """

    def __init__(self, args: PrepareArguments):
        self.output = Path(args.output_dir).resolve()  # a link to a larger disk leads there
        if self.output.is_mount():
            raise UserError(
                f"--output_dir '{args.output_dir}' is a disk's own folder, which cannot be renamed;"
                " name a folder inside it"
            )
        self.path = self.output.with_name(self.output.name + ".work")
        self.songs, self.clips = self.path / "songs", self.path / "clips"
        self.dataset, self.replaced = self.path / "dataset", self.path / "replaced"
        self.args = args
        self.replaces: dict[str, str] | None = None  # the digests of the dataset that goes
        raw_dir = str(Path(args.raw_dir).resolve())  # one folder, however it is named
        cut = _without(MEASURED, asdict(cut_settings(args)))
        self.settings = {MARK: __version__, "raw_dir": raw_dir, "cut": cut}
        paths = {"raw_dir": raw_dir, "output_dir": str(self.output)}
        self.command = _without(ANY_WAY, asdict(args)) | paths
        self.is_open = False
        check_writable(self.output.parent)

    def __enter__(self) -> "WorkFolder":
        refusal = f"another run is at work on '{self.output}'; wait for it"
        self.lock = alone(Path(f"{self.path}.lock"), refusal)
        self.lock.__enter__()
        return self

    def __exit__(self, *raised) -> None:
        told = (self.path / SONGS_FILE).exists()
        if self.is_open and not told and self.songs.is_dir() and not any(self.songs.iterdir()):
            with contextlib.suppress(OSError):
                self._clear()  # nothing is cut that a next run could take up
        self.lock.__exit__(None, None, None)

    def take_up(self, library: Library) -> str | None:
        """Do what a run that was stopped at its very end left to do, and see that the output is
        free, or may be replaced. Nothing that was cut is lost here.

        Returns the summary where that run was given the same command and `library`, and None where
        there is work. Raises UserError when the output stands already, when --update would replace
        more than a dataset of ours, or when something else bears the work's name.
        """
        self._check_ours()
        self.command["inputs"] = _input_digest(library, self.args)
        if published := self._read(PUBLISHED_FILE):
            self._rename(published["replaces"])
            same = published["command"] == self.command
            whose = "a stopped run" if same else "a stopped run with other settings or songs"
            print(f"finished what {whose} had left to do in '{self.path}'", file=sys.stderr)
            if same:
                return published["summary"]
        if _stands(self.output):
            if not self.args.update:
                raise UserError(
                    f"'{self.output}' stands already; add --update to replace it (its songs keep"
                    " their split), or name another --output_dir"
                )
            self.replaces = check_replaceable(self.output)
            check_writable(self.output)  # to rename a folder is to write to it
        return None

    def open(self) -> None:
        """Make the folder ready: keep what a stopped run left that fits the settings, clear what
        any other left.
        """
        left = self._read(SETTINGS_FILE)
        if left and left != self.settings:
            print(f"clearing '{self.path}', which a run with other settings left", file=sys.stderr)
            self._clear()
        self.path.mkdir(exist_ok=True)
        self.is_open = True
        self._write(SETTINGS_FILE, self.settings)
        (self.path / SONGS_FILE).unlink(missing_ok=True)  # of a run that was refused
        for folder in (self.songs, self.clips):
            folder.mkdir(exist_ok=True)

    def publish(self, summary: str) -> None:
        """Give the finished dataset its name; what bore it goes only once the new one stands.

        Raises UserError where the output is not what it was when the run began; the dataset waits.
        """
        facts = {"command": self.command, "summary": summary, "replaces": self.replaces}
        self._write(PUBLISHED_FILE, {MARK: __version__, **facts})
        self._rename(self.replaces)

    def _rename(self, replaces: dict[str, str] | None) -> None:
        """The last steps, in an order that can be stopped anywhere and gone through again."""
        if self.dataset.exists():
            aside = self.replaced.exists()
            self._check_unchanged(None if aside else replaces)
            if replaces and self.output.exists() and not aside:
                os.rename(self.output, self.replaced)
            os.rename(self.dataset, self.output)  # which is free, or an empty folder
        print(f"the dataset is whole; clearing '{self.path}'", file=sys.stderr)
        self._clear()

    def _check_unchanged(self, replaces: dict[str, str] | None) -> None:
        """Refuse to replace what came into the output since it was looked at first."""
        if not _stands(self.output):
            return
        with contextlib.suppress(UserError):
            if replaces and check_replaceable(self.output) == replaces:
                return
        raise UserError(
            f"'{self.output}' is not what it was when the run began. The finished dataset waits in"
            f" '{self.dataset}': move '{self.output}' elsewhere and give the same command again"
        )

    def _check_ours(self) -> None:
        """Refuse a folder of the work's name that holds what no run has left there."""
        if not self.path.exists():
            return
        found = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else {""}
        found = {name for name in found - PARTS if not is_junk(name)}
        if strange := found - OURS:
            what = f"it holds '{min(strange)}'"
        elif found and not any(map(self._read, (SETTINGS_FILE, PUBLISHED_FILE))):
            what = f"it has no {SETTINGS_FILE} as a run writes it"
        else:
            return
        raise UserError(
            f"'{self.path}' is in the way, for a dataset is made there ({what}): move it, or name"
            " another --output_dir"
        )

    def _clear(self) -> None:
        """Remove all that is ours, in an order that can be stopped anywhere: records before the
        clips that they vouch for, and last what says that it is ours."""
        ours = [entry for entry in self.path.iterdir() if entry.name in OURS or is_junk(entry.name)]
        order = {"songs": -1, SETTINGS_FILE: 1, PUBLISHED_FILE: 2}
        for entry in sorted(ours, key=lambda entry: order.get(entry.name, 0)):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        with contextlib.suppress(OSError):  # something of the user's came in
            self.path.rmdir()

    def _read(self, name: str) -> dict | None:
        """What a run wrote under this name; None where there is nothing, or not ours."""
        try:
            facts = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return facts if isinstance(facts, dict) and MARK in facts else None

    def _write(self, name: str, facts: dict) -> None:
        with at_once(self.path / name) as part, part.open("w", encoding="utf-8") as file:
            json.dump(facts, file)
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave the name without the bytes


def _without(names: tuple[str, ...], settings: dict) -> dict:
    return {name: value for name, value in settings.items() if name not in names}


def _input_digest(library: Library, args: PrepareArguments) -> str:
    """A sha256 that is another once songs, or what the user's tables say of them, have changed."""
    digest = hashlib.sha256()
    for file in library.files:
        digest.update(repr((file, file_version(library.root / file.path))).encode())
    tables = [Path(args.group_by)] if is_table(args.group_by) else []
    tables += [Path(args.splits_dataset, SONGS_FILE)] if args.splits_dataset else []
    digest.update(repr([file_version(table) for table in tables]).encode())
    return digest.hexdigest()


def _stands(output: Path) -> bool:
    """Whether there is more in the output's place than an empty folder."""
    return output.exists() and (not output.is_dir() or any(output.iterdir()))
