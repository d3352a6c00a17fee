"""Predictions for people and programs: a table, JSON lines or CSV, and the songs' embeddings."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from genreast.atomic import at_once
from genreast.data.songs import find_files
from genreast.errors import UserError
from genreast.inference.classifier import SongPrediction

BAR_WIDTH = 30  # characters of a probability of 1


def find_songs(names: Iterable[str]) -> list[str]:
    """Files as they are named, folders as the audio files at any depth in them, sorted, as
    `prepare_dataset.py` finds them: links are followed, pipes and hidden files (`._x.mp3`)
    left out.

    Raises UserError for a folder without one. What is not there or may not be read is kept:
    reading it will say so, and the other songs go on.
    """
    songs: list[str] = []
    for name in names:
        if not os.path.isdir(name):
            songs.append(name)
            continue
        found = [file.path for file in find_files(name) if file.status != "not_audio"]
        if not found:
            raise UserError(f"folder '{name}' holds no audio file")
        songs += [str(Path(name) / path) for path in found]
    return songs


def show(prediction: SongPrediction, form: str, top_k: int) -> None:
    """Print a song's answer to standard output; name a song without one on standard error.

    `form` is table, json or csv; a line is out before the next song is heard.
    """
    if prediction.problem:
        tqdm.write(f"no answer for '{prediction.song}': {prediction.problem}", file=sys.stderr)
    if form == "json":
        text = json_line(prediction, top_k)
    elif form == "csv":
        text = csv_row(prediction)
    elif prediction.problem:
        return
    else:
        text = table(prediction, top_k)
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def table(prediction: SongPrediction, top_k: int) -> str:
    """A song's genres with probabilities and bars, under its name."""
    full = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    count = len(prediction.starts)
    rows = [f"{prediction.song}  ({clock(prediction.seconds)}, {count} window{'s'[: count > 1]})"]
    genres = prediction.genres(top_k)
    width = max(len(label) for label, _ in genres)
    rows += [
        f"  {label:<{width}}  {value:5.1%}  {full * round(BAR_WIDTH * value)}".rstrip()
        for label, value in genres
    ]
    return "\n".join(rows) + "\n"


def json_line(prediction: SongPrediction, top_k: int) -> str:
    """One object: song, seconds, windows and genres as `pipeline` spells them, or the error."""
    if prediction.problem:
        return json.dumps({"song": prediction.song, "error": prediction.problem})
    genres = [{"label": label, "score": value} for label, value in prediction.genres(top_k)]
    return json.dumps(
        {
            "song": prediction.song,
            "seconds": round(prediction.seconds, 3),
            "windows": len(prediction.starts),
            "genres": genres,
        }
    )


def csv_header(labels: list[str]) -> str:
    """The columns of `csv_row`: a song, its genre, every genre's probability, its problem."""
    return _csv_line(["song", "seconds", "windows", "genre", *labels, "problem"])


def csv_row(prediction: SongPrediction) -> str:
    """One song's line of CSV, without its end."""
    row = [prediction.song, round(prediction.seconds, 3), len(prediction.starts)]
    if prediction.problem:
        return _csv_line([*row, "", *[""] * len(prediction.labels), prediction.problem])
    values = [f"{value:.6f}" for value in prediction.probabilities]
    return _csv_line([*row, prediction.genres(1)[0][0], *values, ""])


def _csv_line(cells: list) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().removesuffix("\r\n")


def clock(seconds: float) -> str:
    """Seconds as people read them: 3.7 s, 2:40, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def save_embeddings(
    path: str, answered: Sequence[SongPrediction], labels: Sequence[str], hidden: int
) -> None:
    """Write an NPZ: `songs` (n,), `embeddings` (n, hidden), `probabilities` (n, classes) and the
    `labels` (classes,) those are of."""
    embeddings = np.array([prediction.embedding for prediction in answered], np.float32)
    probabilities = np.array([prediction.probabilities for prediction in answered])
    with at_once(path) as part, part.open("wb") as file:
        np.savez_compressed(
            file,
            songs=np.array([prediction.song for prediction in answered], dtype=str),
            embeddings=embeddings.reshape(-1, hidden),  # also where no song was answered
            probabilities=probabilities.reshape(-1, len(labels)),
            labels=np.array(labels, dtype=str),
        )
