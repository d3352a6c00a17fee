"""The steps of `evaluate_model.py`, in order."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict

from genreast import png
from genreast.arguments import EvaluateArguments
from genreast.data.audiofolder import check_outside, dataset_fingerprint, load_splits
from genreast.data.columns import names_songs
from genreast.errors import UserError, check_writable
from genreast.evaluation import comparison, figures, report, scoring, summary
from genreast.evaluation.scoring import Scored
from genreast.inference.classifier import GenreClassifier
from genreast.lock import LOCK_FILE, alone
from genreast.pretrained import read_config, weights_fingerprint
from genreast.training.held_out import as_trained, training_record
from genreast.versions import git_commit, versions


@dataclass(frozen=True)
class Task:
    """A model, and what it is to be measured on."""

    classifier: GenreClassifier
    record: dict[str, Any]  # how the model was made; empty where that is not known
    splits: DatasetDict
    split: Dataset  # the one of them that is measured
    made: dict[str, str]  # what metrics.json says of both


def load(args: EvaluateArguments) -> Task:
    """The model and the dataset. What would be refused after the long work is refused here."""
    folder = Path(args.output_dir)
    check_outside(folder, args.dataset)
    scoring.check_folder(folder, {"split": args.split})
    read_config(args.model)  # or a mistaken name is told when the dataset is downloaded
    columns = (args.audio_column, args.label_column, args.song_column)
    dataset = load_splits(args.dataset, *columns, args.dataset_config)
    classifier = GenreClassifier.from_pretrained(args.model, args.device, args.precision)
    for remark in classifier.remarks:
        print(remark, file=sys.stderr)
    record = training_record(args.model)
    splits = as_trained(dataset, record)
    split = scoring.choose_split(splits, args.split, args.dataset)
    made = {
        "split": args.split,
        "pooling": args.pooling,
        "unit": "song" if names_songs(dataset) else "clip",
        "dataset": args.dataset,
        "dataset_fingerprint": dataset_fingerprint(dataset),
        "model": args.model,
        "model_fingerprint": weights_fingerprint(args.model),
    }
    scoring.check_folder(folder, made)
    if args.compare:
        genre = split.features["label"].int2str
        label_of = dict(zip(split["song_id"], split["label"], strict=True))
        label_of = {song: genre(label) for song, label in label_of.items()}
        comparison.check(args.compare, classifier.labels, label_of, made)
    return Task(classifier, record, splits, split, made)


@contextlib.contextmanager
def output_folder(task: Task, args: EvaluateArguments) -> Iterator[None]:
    """Hold the evaluation folder for this run alone: of two at once, files of each would be left.

    Raises UserError where nothing can be written there, or another run is at it.
    """
    folder = Path(args.output_dir)
    check_writable(folder)
    refusal = f"another run is evaluating to '{folder}'; wait for it, or name another --output_dir"
    with alone(folder / LOCK_FILE, refusal):
        scoring.check_folder(folder, task.made)
        yield


def measure(task: Task, args: EvaluateArguments) -> tuple[dict[str, Any], Scored, Scored]:
    """Hear the split: what metrics.json holds, the clips, and the songs."""
    clips, unreadable = scoring.hear_split(task.classifier, task.split, args.batch_size, args.split)
    songs = scoring.songs_of(clips, args.pooling)
    metrics = scoring.measure(clips, songs, args.pooling)
    metrics |= task.made | {
        "calibration": _calibration(task, clips, songs, args),
        "comparison": comparison.compare(songs, args.compare, task.made) if args.compare else None,
        "precision": str(task.classifier.dtype).removeprefix("torch."),
        "unreadable": unreadable,
        "versions": versions(),
        "git_commit": git_commit(),
    }
    return metrics, clips, songs


def _calibration(
    task: Task, clips: Scored, songs: Scored, args: EvaluateArguments
) -> dict[str, Any] | None:
    """What a temperature does, where one is asked for and can be fitted."""
    if not args.calibrate or args.split == "validation":
        return None
    try:
        validation = scoring.choose_split(task.splits, "validation", args.dataset)
        return scoring.calibrate(
            task.classifier, validation, clips, songs, args.pooling, args.batch_size
        )
    except UserError as error:
        print(f"no temperature: {error}", file=sys.stderr)
        return None


def write(
    task: Task, metrics: dict[str, Any], clips: Scored, songs: Scored, args: EvaluateArguments
) -> None:
    """Write the evaluation folder: metrics and predictions, figures, the report."""
    folder = Path(args.output_dir)
    report.clear(folder)
    scoring.write(folder, metrics, clips, songs)
    labels, unit = task.classifier.labels, metrics["unit"]
    shares = scoring.training_shares(task.record, task.splits, labels, unit)
    drawn = figures.draw_all(metrics, clips, songs, shares)
    images = {name: png.to_bytes(figure) for name, figure in drawn.items()}
    for name, image in images.items():
        png.write(image, folder / f"{name}.png")
    names, pictures = report.song_names(args.dataset), report.song_pictures(task.split)
    report.write(folder, metrics, songs, images, names, pictures)


def show(metrics: dict[str, Any], args: EvaluateArguments) -> None:
    """Print the main scores, whether two models differ, and where the report is."""
    print(summary.table(metrics))
    if metrics["comparison"]:
        print(comparison.verdict(metrics["comparison"]))
    print(f"report: {Path(args.output_dir) / report.REPORT_FILE}", file=sys.stderr)


def left_out(metrics: dict[str, Any]) -> bool:
    """Whether a clip of a split that was heard could not be read."""
    calibration = metrics["calibration"] or {}
    return bool(metrics["unreadable"] or calibration.get("unreadable"))
