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
from genreast.cuts import CutSettings
from genreast.errors import UserError

SETTINGS_FILE = "settings.json"
SUMMARY_FILE = "published.txt"  # written just before the dataset gets its name


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

    Entering raises UserError when another run holds it.
    """

    def __init__(self, args: PrepareArguments):
        self.output = Path(args.output_dir).absolute()
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
        None where there is work. Raises UserError when the output stands already.
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
        if path.is_file() and json.loads(path.read_text()) == self.settings:
            return
        if self.path.exists():
            print(f"clearing '{self.path}', which a run with other settings left", file=sys.stderr)
            shutil.rmtree(self.path)
        new = self.path.with_name(self.path.name + ".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        (new / SETTINGS_FILE).write_text(json.dumps(self.settings))
        os.rename(new, self.path)
