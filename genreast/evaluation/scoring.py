"""A model and a split → clips and songs with their scores, and the files of an evaluation folder.

A clip is heard as `GenreClassifier` hears a song, so that the numbers are those a user will get;
one longer than the model's window is heard whole.
"""

import csv
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from scipy.special import softmax
from tqdm import tqdm

from genreast.atomic import at_once
from genreast.bars import bar
from genreast.data.columns import clip_names, encoded
from genreast.data.songs import is_junk
from genreast.errors import UserError
from genreast.evaluation import bootstrap, calibration
from genreast.evaluation.summary import METRICS_FILE
from genreast.inference.classifier import GenreClassifier
from genreast.lock import LOCK_FILE
from genreast.metrics import Pooling, evaluate_clips, pool_songs

CLIPS_FILE = "predictions.csv"
SONGS_FILE = "songs.csv"
NAMED = 8  # genres that a message names; of more it gives the number
EVALUATED = ("model", "dataset", "split")  # what tells one evaluation from another


@dataclass
class Scored:
    """Clips or songs with what the model says of them, row by row; labels are class ids."""

    names: list[str]
    logits: np.ndarray  # (n, classes), log-probabilities
    labels: np.ndarray  # (n,)
    groups: list[str]
    label_names: list[str]
    columns: dict[str, list] = field(default_factory=dict)  # more of each row, for its CSV

    @property
    def predictions(self) -> np.ndarray:
        """Class ids, (n,)."""
        return self.logits.argmax(1)

    @property
    def probabilities(self) -> np.ndarray:
        """(n, classes)."""
        return softmax(self.logits, axis=1)


def check_folder(folder: Path, made: dict[str, str]) -> None:
    """Raises UserError where writing to `folder` would replace anything but an earlier evaluation
    of the same model on the same split.

    `made` gives what is known of `EVALUATED` so far. A model or a dataset is the same by its name
    or by its fingerprint, under `model_fingerprint` or `dataset_fingerprint`.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output_dir '{folder}' is a file; name a folder")
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    if all(is_junk(name) or name == LOCK_FILE for name in names):
        return
    try:
        there = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        earlier = {name: there[name] for name in EVALUATED}
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(
            f"--output_dir '{folder}' holds files, and no evaluation; name another folder"
        ) from None
    for name, before in earlier.items():
        now, mark = made.get(name, before), f"{name}_fingerprint"
        same = mark in made and there.get(mark) == made[mark]
        if not same and Path(before).resolve() != Path(now).resolve():
            raise UserError(
                f"--output_dir '{folder}' holds an evaluation of {name} '{before}', not '{now}';"
                " name another folder"
            )


def hear_split(
    classifier: GenreClassifier, split: datasets.Dataset, batch_size: int, name: str = ""
) -> tuple[Scored, dict[str, str]]:
    """Every clip of a split through the model; the clips that could not be read, with causes.

    Raises UserError when the split's labels are not the model's, or no clip can be read.
    """
    label_of = match_labels(split.features["label"].names, classifier.labels)
    table = split.select_columns(["label", "song_id", "group", "start"]).to_dict()
    clips = clip_names(split)
    sources = map(encoded, split.select_columns("audio")["audio"])
    heard = classifier.predict(sources, batch_size=batch_size)
    heard = bar(heard, total=len(split), unit="clip", desc=name or None)
    rows, logits, unreadable = [], [], {}
    for row, prediction in enumerate(heard):
        if prediction.log_probabilities is None:
            unreadable[clips[row]] = prediction.problem
            tqdm.write(f"clip '{clips[row]}' left out: {prediction.problem}", file=sys.stderr)
            continue
        rows.append(row)
        logits.append(prediction.pooled)
    if not rows:
        name, cause = next(iter(unreadable.items()))
        raise UserError(f"not one clip of the split can be read; the first: '{name}', {cause}")
    pick = {column: [values[row] for row in rows] for column, values in table.items()}
    scored = Scored(
        names=[clips[row] for row in rows],
        logits=np.stack(logits),
        labels=np.array([label_of[label] for label in pick["label"]]),
        groups=pick["group"],
        label_names=classifier.labels,
        columns={"song_id": pick["song_id"], "start": pick["start"]},
    )
    return scored, unreadable


def choose_split(splits: datasets.DatasetDict, name: str, dataset: str) -> datasets.Dataset:
    """The named split. Raises UserError when it is not there or empty."""
    if name not in splits or not len(splits[name]):
        held = ", ".join(key for key in splits if len(splits[key])) or "nothing"
        none = ", and the model's training held none out of it" if name == "validation" else ""
        raise UserError(
            f"dataset '{dataset}' has no {name} split{none}; it has {held}: choose by --split"
        )
    return splits[name]


def match_labels(dataset_names: Sequence[str], model_names: Sequence[str]) -> list[int]:
    """The model's class id of each of the dataset's, matched by name whatever the order.

    Raises UserError when the dataset has a genre the model does not know.
    """
    unknown = [name for name in dataset_names if name not in model_names]
    if unknown:
        missing = [name for name in model_names if name not in dataset_names]
        raise UserError(
            f"the dataset's genres are not the model's: {_listed(unknown)} unknown to the model"
            + (f", {_listed(missing)} not in the dataset" if missing else "")
            + "; evaluate on the dataset the model was trained for"
        )
    return [list(model_names).index(name) for name in dataset_names]


def songs_of(clips: Scored, pooling: Pooling) -> Scored:
    """The songs behind the clips, pooled."""
    song_ids = clips.columns["song_id"]
    logits, labels, names = pool_songs(clips.logits, clips.labels, song_ids, pooling)
    group_of = dict(zip(song_ids, clips.groups, strict=True))
    counts = Counter(song_ids)
    return Scored(
        names=names,
        logits=logits,
        labels=labels,
        groups=[group_of[name] for name in names],
        label_names=clips.label_names,
        columns={"clips": [counts[name] for name in names]},
    )


def measure(clips: Scored, songs: Scored, pooling: Pooling) -> dict[str, Any]:
    """`clip`, `song` and `confidence_intervals`, for metrics.json."""
    names = clips.label_names
    scores = evaluate_clips(
        clips.logits, clips.labels, clips.columns["song_id"], names, pooling=pooling
    )
    scores["confidence_intervals"] = {
        level: bootstrap.intervals(scored.logits, scored.labels, scored.groups, names)
        for level, scored in (("clip", clips), ("song", songs))
    }
    return scores


def calibrate(
    classifier: GenreClassifier,
    validation: datasets.Dataset,
    clips: Scored,
    songs: Scored,
    pooling: Pooling,
    batch_size: int,
) -> dict[str, Any]:
    """Temperatures fitted on the validation split, and what they do to the measured one.

    Raises UserError where no clip of the validation split can be read.
    """
    held_out, unreadable = hear_split(classifier, validation, batch_size, "validation")
    pairs = {"clip": (held_out, clips), "song": (songs_of(held_out, pooling), songs)}
    result: dict[str, Any] = {"fitted_on": "validation", "unreadable": unreadable}
    for level, (there, here) in pairs.items():
        temperature, reason = calibration.fit_temperature(there.logits, there.labels)
        result[level] = calibration.before_and_after(here.logits, here.labels, temperature)
        result[level]["reason"] = reason
    return result


def training_shares(
    record: dict[str, Any], splits: datasets.DatasetDict, label_names: Sequence[str], unit: str
) -> dict[str, float] | None:
    """Each genre's share of the songs (or clips, the `unit`) that the model was trained on.

    Of a model whose `record` of training does not tell, those of the measured dataset's train
    split, where it has one.
    """
    recorded = record.get("dataset", {}).get("splits", {}).get("train", {}).get(f"{unit}s")
    counts = Counter(recorded or _songs_a_genre(splits.get("train", ())))
    return {name: counts[name] / counts.total() for name in label_names} if counts else None


def _songs_a_genre(train: datasets.Dataset | Sequence) -> Counter[str]:
    if not len(train):
        return Counter()
    label_of_song = dict(zip(train["song_id"], train["label"], strict=True))
    return Counter(map(train.features["label"].int2str, label_of_song.values()))


def write(folder: Path, metrics: dict[str, Any], clips: Scored, songs: Scored) -> None:
    """metrics.json, predictions.csv and songs.csv: all of them in place, or none where this is
    stopped. A part of an evaluation would be taken for a folder of other files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        at_once(folder / METRICS_FILE) as metrics_part,
        at_once(folder / SONGS_FILE) as songs_part,
        at_once(folder / CLIPS_FILE) as clips_part,
    ):
        _write_csv(clips_part, "clip", clips)
        _write_csv(songs_part, "song_id", songs)
        text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
        metrics_part.write_text(text, encoding="utf-8")


def _write_csv(path: Path, key: str, scored: Scored) -> None:
    names, probabilities, predictions = scored.label_names, scored.probabilities, scored.predictions
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            [key, *scored.columns, "group", "label", "prediction", "confidence", *names]
        )
        for row, name in enumerate(scored.names):
            label, prediction = scored.labels[row], predictions[row]
            values = [repr(float(value)) for value in probabilities[row]]  # every digit
            more = [column[row] for column in scored.columns.values()]
            more += [scored.groups[row], names[label], names[prediction], values[prediction]]
            writer.writerow([name, *more, *values])


def _listed(names: Sequence[str]) -> str:
    quoted = ", ".join(f"'{name}'" for name in names[:NAMED])
    return quoted + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
