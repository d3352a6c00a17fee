"""The settings of every script as checked dataclasses, but those of training, which stand in
`training/recipe.py`.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from genreast.audio import CLIP_SECONDS
from genreast.config import Faults, option, positional
from genreast.hub_ids import is_hub_id
from genreast.tables import is_table

LONGEST_CLIP = 3600  # seconds
MOST_OVERLAP = 0.99  # ten windows a second of sound
GENRES_BY_NAME = ("folder", "tag")
GROUPS_BY_NAME = ("song", "artist", "album", "folder")


@dataclass
class PrepareArguments:
    """Settings of `prepare_dataset.py`."""

    raw_dir: str | None = positional("folder of songs, one sub-folder a genre")
    output_dir: str = option("data/processed", "where the dataset is written")
    genre_by: str = option(
        "folder",
        "where a song's genre stands: folder (the first below RAW_DIR), tag (the first that it"
        " names) or FILE.csv (path,genre)",
        group="genres",
    )
    min_songs_per_genre: int = option(1, "leave out genres of fewer songs", group="genres")
    clip_seconds: float = option(CLIP_SECONDS, "length of a clip in seconds", group="clips")
    skip_start_seconds: float = option(
        0.0, "seconds left out at a song's start (the intro)", group="clips"
    )
    skip_end_seconds: float = option(
        0.0, "seconds left out at a song's end (the outro)", group="clips"
    )
    max_clips_per_song: int | None = option(
        None, "at most this many clips a song, spread evenly", group="clips"
    )
    max_silence_seconds: float | None = option(
        None, "cut out silences longer than this many seconds", group="clips"
    )
    val_fraction: float = option(
        0.1, "share of a genre's songs in the validation split", group="splits"
    )
    test_fraction: float = option(0.1, "share of a genre's songs in the test split", group="splits")
    seed: int = option(0, "seed of the splits", group="splits")
    group_by: str = option(
        "song",
        "what never straddles two splits: song, artist, album, folder or FILE.csv (path,group)",
        group="splits",
    )
    duplicates: str = option(
        "group",
        "recordings found twice by their sound: group (equal ones kept once, near copies in one"
        " split) or ignore",
        choices=["group", "ignore"],
        group="splits",
    )
    splits_from: str | None = option(
        None,
        "an earlier dataset whose songs keep their split (it counts before the one that --update"
        " replaces), or FILE.csv (path,split) that gives songs theirs, whatever the fractions;"
        " others are left out",
        group="splits",
    )
    clips_from: str | None = option(
        None,
        "an earlier dataset: songs that it holds, cut alike, are linked from there, not decoded;"
        " --update does so by itself",
        group="clips",
    )
    format: str = option(
        "files",
        "files (one FLAC a clip) or parquet (shards, for more than about 100,000 clips)",
        choices=["files", "parquet"],
        group="output",
    )
    update: bool = option(
        False,
        "replace a dataset that stands in the output folder; its songs keep their split",
        group="output",
    )
    strict: bool = option(
        False, "exit with status 1, after the work, when any file was left out", group="output"
    )
    feature_stats: bool = option(
        True, "measure mean and standard deviation of the train split's features", group="output"
    )
    num_workers: int | None = option(None, "worker processes (default: one a core)", group="run")
    dask: str | None = option(
        None, "work on the Dask cluster of this scheduler, tcp://HOST:PORT", group="run"
    )

    def __post_init__(self):
        faults = Faults()
        faults.unless(
            self.raw_dir, "RAW_DIR is missing: name the folder that holds one folder a genre"
        )
        faults.unless(
            1 <= self.clip_seconds <= LONGEST_CLIP,
            f"--clip_seconds is {self.clip_seconds:g}; expected 1 to {LONGEST_CLIP}",
        )
        for name in ("val_fraction", "test_fraction"):
            value = getattr(self, name)
            faults.unless(0 <= value < 1, f"--{name} is {value:g}; expected 0 or more and below 1")
        total = self.val_fraction + self.test_fraction
        faults.unless(
            total < 1, f"--val_fraction and --test_fraction add up to {total:g}; expected below 1"
        )
        for name in ("skip_start_seconds", "skip_end_seconds"):
            value = getattr(self, name)
            faults.unless(
                0 <= value < math.inf, f"--{name} is {value:g}; expected 0 or more seconds"
            )
        silence = self.max_silence_seconds
        faults.unless(
            silence is None or silence >= 0,
            f"--max_silence_seconds is {silence}; expected 0 or more seconds",
        )
        for name in ("max_clips_per_song", "num_workers", "min_songs_per_genre"):
            value = getattr(self, name)
            faults.unless(value is None or value >= 1, f"--{name} is {value}; expected 1 or more")
        faults.unless(
            self.genre_by in GENRES_BY_NAME or is_table(self.genre_by),
            f"--genre_by is '{self.genre_by}'; expected folder, tag or FILE.csv",
        )
        known = self.group_by in GROUPS_BY_NAME or is_table(self.group_by)
        faults.unless(
            known,
            f"--group_by is '{self.group_by}'; expected song, artist, album, folder or FILE.csv",
        )
        faults.unless(
            not os.path.isfile(str(self.splits_from)) or is_table(self.splits_from),
            f"--splits_from is '{self.splits_from}'; expected the folder of an earlier dataset or"
            " FILE.csv (path,split)",
        )
        faults.unless_utf8(self, "output_dir")
        raw, output = (Path(str(path)).resolve() for path in (self.raw_dir, self.output_dir))
        faults.unless(
            not (output.is_relative_to(raw) or raw.is_relative_to(output)),
            f"--output_dir '{self.output_dir}' and RAW_DIR '{self.raw_dir}' lie in one another;"
            " name a folder outside",
        )
        faults.report()

    @property
    def splits_table(self) -> str | None:
        """--splits_from where it is a table."""
        return self.splits_from if self.splits_from and is_table(self.splits_from) else None

    @property
    def splits_dataset(self) -> str | None:
        """--splits_from where it is an earlier dataset."""
        return self.splits_from if not self.splits_table else None


@dataclass
class EvaluateArguments:
    """Settings of `evaluate_model.py`."""

    model: str | None = positional("model folder or Hub id, USER/NAME[@REVISION]")
    dataset: str = option("data/processed", "dataset folder or Hub id, USER/NAME[@REVISION]")
    split: str = option("test", "split to measure: train, validation or test")
    dataset_config: str | None = option(
        None, "which configuration, of a dataset that comes in several", group="data"
    )
    audio_column: str = option("audio", "column that holds the sound", group="data")
    label_column: str = option("label", "column that holds the genre", group="data")
    song_column: str = option(
        "song_id", "column that names the song; absent: each row is a song", group="data"
    )
    output_dir: str | None = option(None, "where results go (default: evaluation/<model>-<split>)")
    pooling: str = option(
        "log_probability",
        "what a song's score is made of: its clips' mean log_probability or probability, or a vote",
        choices=["log_probability", "probability", "vote"],
    )
    compare: str | None = option(
        None, "evaluation folder of another model on the same songs: do the two differ?"
    )
    calibrate: bool = option(True, "fit a temperature on the validation split, report its effect")
    batch_size: int = option(16, "clips a forward pass")
    device: str | None = option(None, "cpu, cuda, cuda:1, mps (default: the best there is)")
    precision: str = option(
        "auto",
        "auto is bfloat16 where the device is faster in it, but for very small models",
        choices=["auto", "float32", "bfloat16"],
    )

    def __post_init__(self):
        faults = Faults()
        faults.unless(self.model, "MODEL is missing: name a model folder or a Hub id")
        faults.unless(
            self.batch_size >= 1, f"--batch_size is {self.batch_size}; expected 1 or more"
        )
        faults.unless_utf8(self, "dataset")
        splits = ("train", "validation", "test")
        faults.unless(
            self.split in splits, f"--split is '{self.split}'; expected one of {', '.join(splits)}"
        )
        faults.report()
        if self.output_dir is None:
            model = Path(str(self.model))
            name = model.resolve().name if model.is_dir() else model.name  # "." has no name
            self.output_dir = f"evaluation/{name}-{self.split}"


@dataclass
class PredictArguments:
    """Settings of `predict_song.py`."""

    model: str | None = positional("model folder or Hub id, USER/NAME[@REVISION]")
    songs: list[str] = positional("songs, or folders of songs", nargs="*")  # noqa: RUF009
    format: str = option(
        "table",
        "table, json (one object a line, as songs finish) or csv",
        choices=["table", "json", "csv"],
    )
    top_k: int = option(5, "genres shown a song (table, json)")
    overlap: float = option(
        0.0, f"share of a window that the next one repeats: 0 to {MOST_OVERLAP:g}"
    )
    max_windows: int | None = option(
        None,
        "at most this many windows a song, spread evenly; of MP3, FLAC, WAV and AIFF files little "
        "else is decoded (default: the whole song)",
    )
    timeline: str | None = option(
        None, "write a picture of genre over time above the log-mel, a PNG file (one song)"
    )
    embeddings: str | None = option(
        None,
        "write what the model's head judges each song by, its last layer pooled, averaged over the "
        "windows: an NPZ file of songs, embeddings, probabilities, labels",
    )
    batch_size: int = option(8, "windows a forward pass")
    device: str | None = option(None, "cpu, cuda, cuda:1, mps (default: the best there is)")
    precision: str = option(
        "auto",
        "auto is bfloat16 where the device is faster in it, but for very small models",
        choices=["auto", "float32", "bfloat16"],
    )

    def __post_init__(self):
        faults = Faults()
        faults.unless(self.model, "MODEL is missing: name a model folder or a Hub id")
        faults.unless(
            not os.path.isfile(str(self.model)),
            f"MODEL is '{self.model}', a file; expected a model folder or a Hub id, and songs after"
            " it",
        )
        faults.unless(
            self.songs, "no song given: name one or more files or folders after the model"
        )
        for name in ("top_k", "batch_size", "max_windows"):
            value = getattr(self, name)
            faults.unless(value is None or value >= 1, f"--{name} is {value}; expected 1 or more")
        faults.unless(
            0 <= self.overlap <= MOST_OVERLAP,
            f"--overlap is {self.overlap:g}; expected 0 to {MOST_OVERLAP:g}",
        )
        for name, suffix in (("timeline", ".png"), ("embeddings", ".npz")):
            value = getattr(self, name)
            faults.unless(
                value is None or value.lower().endswith(suffix),
                f"--{name} is '{value}'; expected a file name that ends with {suffix}",
            )
        faults.report()


@dataclass
class PushArguments:
    """Settings of `push_to_hub.py`."""

    model_dir: str | None = positional("trained model folder")
    repo_id: str | None = positional("Hub model to publish as, USER/NAME")
    evaluation: str | None = option(
        None, "evaluation folder whose metrics and figures the page shows"
    )
    license: str | None = option(None, "licence id as the Hub knows it, such as cc-by-4.0 or mit")
    private: bool = option(False, "make the repository private")
    revision: str = option("main", "branch to publish on, made where missing")
    create_pr: bool = option(False, "open a pull request in place of a commit on main")
    tag: str | None = option(None, "name the published commit, such as v1.0")
    dataset_dir: str | None = option(None, "prepared dataset to publish too")
    dataset_repo: str | None = option(
        None, "Hub dataset of the model: named on its page, and where --dataset_dir goes"
    )
    dataset_license: str | None = option(
        None, "licence id of the songs; without one their dataset is private"
    )
    dataset_format: str = option(
        "parquet",
        "parquet (sound embedded, plays in the Dataset Viewer) or audiofolder (files)",
        choices=["parquet", "audiofolder"],
    )
    onnx: bool = option(
        False, "add the model for ONNX Runtime and Transformers.js, float32 and int8"
    )
    space: str | None = option(
        None, "Hub Space to publish, USER/NAME: a page where people try the model"
    )
    edited_page: str | None = option(
        None,
        "what becomes of a README.md that was edited on the Hub; asked for where there is one",
        choices=["keep", "replace"],
    )
    take_down: bool = option(
        False, "delete an evaluation or ONNX files that were published with this same model before"
    )
    commit_message: str = option("Publish with GenreAST", "first line of the commit")
    staging_dir: str | None = option(
        None,
        "where the model's files are gathered; the dataset's and the Space's lie beside it, as"
        " NAME-dataset and NAME-space (default: MODEL_DIR/hub_staging, DATASET_DIR-hub_staging)",
    )
    dry_run: bool = option(False, "stage and check everything, upload nothing")

    def __post_init__(self):
        faults = Faults()
        if self.model_dir or self.space or self.onnx or not self.dataset_dir:
            faults.unless(self.model_dir, "MODEL_DIR is missing: name a trained model folder")
            faults.unless(self.repo_id, "USER/NAME is missing: name the Hub model to publish as")
        else:
            for name in ("evaluation", "license"):
                faults.unless(
                    getattr(self, name) is None,
                    f"--{name} is of a model: name its folder, MODEL_DIR, and USER/NAME",
                )
        for name, default in (("dataset_license", None), ("dataset_format", "parquet")):
            faults.unless(
                self.dataset_dir or getattr(self, name) == default,
                f"--{name} is of a dataset to publish: name its folder as --dataset_dir",
            )
        faults.unless(
            self.dataset_repo or not self.dataset_dir,
            "--dataset_repo is missing: name the Hub dataset that --dataset_dir goes to",
        )
        for repo_id in filter(None, (self.repo_id, self.dataset_repo, self.space)):
            faults.unless(
                is_hub_id(repo_id),
                f"'{repo_id}' is not a Hub id; expected USER/NAME of letters, digits and - _ .",
            )
        faults.unless(
            not (self.create_pr and (self.tag or self.revision != "main")),
            "--create_pr goes with neither --tag nor --revision: a pull request is to main",
        )
        faults.unless(
            not self.space or not (self.create_pr or self.revision != "main"),
            "--space goes with neither --create_pr nor --revision: it shows the model's main",
        )
        faults.report()
