"""The folder beside the output in which a dataset is made, so that a stopped run can go on.

`<output>.work/` holds `settings.json`, a record and the clips of each song that is cut, and at the
end the whole dataset, which is renamed to the output's name. Until then nothing bears that name.
"""

import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import filelock

from genreast import __version__
from genreast.arguments import PrepareArguments
from genreast.audiofolder import PREPARATION_FILE, SONGS_FILE
from genreast.cuts import CutSettings
from genreast.errors import UserError
from genreast.features import STATS_FILE
from genreast.pages import PAGE_FILE, is_sealed
from genreast.songs import is_junk
from genreast.splits import SPLITS

SETTINGS_FILE = "settings.json"
SUMMARY_FILE = "published.txt"  # written just before the dataset gets its name
DATASET = {*SPLITS, "data", SONGS_FILE, PREPARATION_FILE, STATS_FILE, PAGE_FILE}


def cut_settings(args: PrepareArguments) -> CutSettings:
    """The part of the settings that decides what a song's clips are."""
    return CutSettings(
        clip_seconds=args.clip_seconds,
        skip_start_seconds=args.skip_start_seconds,
        skip_end_seconds=args.skip_end_seconds,
        max_clips_per_song=args.max_clips_per_song,
        max_silence_seconds=args.max_silence_seconds,
        fingerprints=args.duplicates == "group",
        feature_stats=args.feature_stats,
        tags=args.group_by in ("artist", "album"),
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
        self.settings = {
            "genreast": __version__,
            "raw_dir": str(Path(args.raw_dir).absolute()),
            "cut": asdict(cut_settings(args)),
        }
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.lock = filelock.FileLock(f"{self.path}.lock")

    def __enter__(self) -> "WorkFolder":
        try:
            self.lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise UserError(f"another run is at work on '{self.output}'; wait for it") from error
        return self

    def __exit__(self, *raised) -> None:
        self.lock.release()
        Path(self.lock.lock_file).unlink(missing_ok=True)

    def open(self, update: bool) -> str | None:
        """Make the folder ready, with what an earlier run left that fits the settings.

        Returns the summary of a run that had only its last rename or cleaning left to do, and
        None where there is work. Raises UserError when the output stands already, when `update`
        would replace more than a dataset of ours, or when something else bears the work's name.
        """
        if (self.path / SUMMARY_FILE).is_file():
            text = (self.path / SUMMARY_FILE).read_text(encoding="utf-8")
            self._rename()
            return text
        stands = self.output.exists() and (not self.output.is_dir() or any(self.output.iterdir()))
        if stands and not update:
            raise UserError(
                f"'{self.output}' stands already; add --update to replace it (its songs keep their"
                " split), or name another --output_dir"
            )
        if stands:
            _check_replaceable(self.output)
        self._keep_or_clear()
        for folder in (self.songs, self.clips):
            folder.mkdir(exist_ok=True)
        return None

    def publish(self, summary: str) -> None:
        """Give the finished dataset its name; what bore it goes only once the new one stands."""
        aside = self.path / f"{SUMMARY_FILE}.part"
        aside.write_text(summary, encoding="utf-8")
        os.replace(aside, self.path / SUMMARY_FILE)
        self._rename()

    def _rename(self) -> None:
        """The last steps, in an order that can be stopped anywhere and gone through again."""
        if self.dataset.exists():
            if self.output.exists() and not self.replaced.exists():
                os.rename(self.output, self.replaced)
            os.rename(self.dataset, self.output)
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
        shutil.rmtree(self.path)

    def _keep_or_clear(self) -> None:
        """Keep what a stopped run with equal settings left; clear what any other left."""
        path = self.path / SETTINGS_FILE
        part = path.with_name(f"{SETTINGS_FILE}.part")
        if path.is_file():
            if json.loads(path.read_text()) == self.settings:
                return
            print(f"clearing '{self.path}', which a run with other settings left", file=sys.stderr)
            shutil.rmtree(self.path)
        elif self.path.exists() and (not self.path.is_dir() or {*self.path.iterdir()} - {part}):
            raise UserError(
                f"'{self.path}' is in the way: this is where a dataset is made; move it, or name"
                " another --output_dir"
            )
        self.path.mkdir(exist_ok=True)
        part.write_text(json.dumps(self.settings))
        os.replace(part, path)


def _check_replaceable(folder: Path) -> None:
    """Refuse to replace what is no dataset of ours, or more than that."""
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if SONGS_FILE not in names or not names & {*SPLITS, "data"}:
        raise UserError(
            f"'{folder}' is no dataset that prepare_dataset.py made: --update would lose it; name"
            " another --output_dir"
        )
    kept = sorted(name for name in names - DATASET if not is_junk(name))
    page = folder / PAGE_FILE
    if page.is_file() and not is_sealed(page.read_text(encoding="utf-8", errors="replace")):
        kept.append(f"{PAGE_FILE}, edited since")
    if kept:
        raise UserError(
            f"'{folder}' holds {kept[0]}, which --update would lose: move it elsewhere first"
        )
