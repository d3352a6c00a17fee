"""Do two models differ on the same songs? Paired bootstrap and McNemar's test, both by group.

Both read `songs.csv` of an evaluation folder, whose `metrics.json` says how it was made; songs are
matched by their id.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom

from genreast.errors import UserError
from genreast.evaluation.bootstrap import (
    FEWEST_GROUPS,
    resampled_scores,
    score_intervals,
    weighted_scores,
)
from genreast.evaluation.scoring import SONGS_FILE, Scored
from genreast.evaluation.summary import METRICS_FILE

COMPARED = ("accuracy", "balanced_accuracy", "macro_f1", "mean_average_precision", "log_loss")
ALPHA = 0.05
LAST_COLUMN = "confidence"  # before the genres
BETTER = {1: "better", -1: "worse"}


def read_songs(folder: str | Path, label_names: list[str]) -> Scored:
    """The songs of an evaluation folder, with its classes put in the order of `label_names`.

    Raises UserError when it is no evaluation folder, or one of other genres.
    """
    path = Path(folder) / SONGS_FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            columns, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error) as error:
        words = getattr(error, "strerror", None) or error
        raise UserError(
            f"'{folder}' is no evaluation: {path} cannot be read ({words}); "
            "make one with evaluate_model.py"
        ) from error
    if not {"song_id", "group", "label", LAST_COLUMN} <= set(columns):
        raise UserError(f"'{folder}' is no evaluation; make one with evaluate_model.py")
    width = columns.index(LAST_COLUMN) + 1  # after which each genre has a column, whatever its name
    genres = columns[width:]
    if missing := [name for name in label_names if name not in genres]:
        raise UserError(f"'{folder}' is an evaluation of other genres: it has no '{missing[0]}'")
    try:
        about = [dict(zip(columns[:width], row[:width], strict=True)) for row in rows]
        probabilities = np.array([row[width:] for row in rows], dtype=float)
        if not np.isfinite(probabilities).all():
            raise ValueError("a probability is no number")
        probabilities = probabilities[:, [genres.index(name) for name in label_names]]
    except (ValueError, IndexError) as error:
        raise UserError(f"'{path}' is damaged ({error}): evaluate again") from error
    if more := sorted({row["label"] for row in about} - set(label_names)):
        raise UserError(f"'{folder}' is an evaluation of other genres: it has '{more[0]}' too")
    return Scored(
        names=[row["song_id"] for row in about],
        logits=_logarithm(probabilities),
        labels=np.array([label_names.index(row["label"]) for row in about]),
        groups=[row["group"] for row in about],
        label_names=label_names,
    )


def check(
    folder: str | Path, label_names: list[str], label_of: dict[str, str], made: dict[str, str]
) -> None:
    """Refuse what `compare` will, before songs are heard.

    `label_of` is of each song's id; `made` tells this evaluation's split and pooling. Songs that
    are of another split there may have been trained on.
    """
    other = read_songs(folder, label_names)
    if not label_of.keys() & set(other.names):
        raise UserError(f"'{folder}' shares no song with this evaluation: use the same split")
    for name, label in zip(other.names, other.labels, strict=True):
        if label_of.get(name, label_names[label]) != label_names[label]:
            raise UserError(
                f"'{folder}' has '{name}' as {label_names[label]}, the dataset as"
                f" {label_of[name]}: evaluate again"
            )
    there = _made(folder)
    for name in ("split", "pooling"):
        if there.get(name, made[name]) != made[name]:
            raise UserError(
                f"'{folder}' was made with --{name} {there[name]}, this evaluation with --{name}"
                f" {made[name]}: use the same"
            )


def compare(songs: Scored, other_folder: str | Path, made: dict[str, str]) -> dict[str, Any]:
    """What changes from another evaluation to this one, on the songs both have.

    Gives for each score the difference (this − other) with its 95 % interval by bootstrap over
    groups, and exact tests of the songs only one of the two gets right: by song and by group.

    `made` tells this evaluation's `split`, `pooling`, `unit` and `dataset_fingerprint`. Raises
    UserError when the other is no evaluation of these songs made the same way.
    """
    names = songs.label_names
    label_of = dict(zip(songs.names, [names[label] for label in songs.labels], strict=True))
    check(other_folder, names, label_of, made)
    other, there_made = read_songs(other_folder, names), _made(other_folder)
    mark = "dataset_fingerprint"
    row_there = {name: row for row, name in enumerate(other.names)}
    here = [row for row, name in enumerate(songs.names) if name in row_there]
    there = [row_there[songs.names[row]] for row in here]
    labels = songs.labels[here]
    groups = [songs.groups[row] for row in here]
    # Both as `scoring.write` leaves them, so that a model equals itself.
    ours, theirs = _logarithm(songs.probabilities[here]), other.logits[there]
    net = (ours.argmax(1) == labels).astype(int) - (theirs.argmax(1) == labels)
    return {
        "other": str(other_folder),
        "other_model": there_made.get("model"),
        "same_dataset": there_made.get(mark, made[mark]) == made[mark],
        "unit": made["unit"],
        "songs": len(here),
        "songs_of_one_only": len(songs.names) + len(other.names) - 2 * len(here),
        "groups": len(set(groups)),
        "differences": differences(ours, theirs, labels, groups),
        "mcnemar": mcnemar(net, groups),
    }


def differences(
    ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray, groups: list[str]
) -> dict[str, dict[str, Any]]:
    """Score by score: {"difference", "interval"}; both models see the same draws of groups.

    An interval is None where `bootstrap.score_intervals` gives none.
    """
    as_it_is = np.ones((1, len(labels)))
    here, there = (weighted_scores(logits, labels, as_it_is) for logits in (ours, theirs))
    found = {name: here[name] - there[name] for name in COMPARED}
    here, there = (resampled_scores(logits, labels, groups) for logits in (ours, theirs))
    drawn = {name: here[name] - there[name] for name in COMPARED}
    spans = score_intervals(drawn, found, labels, groups)
    return {
        name: {"difference": float(found[name][0]), "interval": spans[name]} for name in COMPARED
    }


def mcnemar(net: np.ndarray, groups: list[str]) -> dict[str, float | int]:
    """How many songs one model alone gets right, and is either as likely to? By song and by group.

    `net` (songs,) is 1 where this model alone is right, -1 where the other alone is, 0 elsewhere.
    `p_value` is McNemar's exact one, which takes songs of a group for as many witnesses.
    """
    _, group_of_song = np.unique(groups, return_inverse=True)
    return {
        "only_this_right": int((net > 0).sum()),
        "only_other_right": int((net < 0).sum()),
        "p_value": sign_flip(net),
        "p_value_by_group": sign_flip(np.bincount(group_of_song, net).astype(int)),
    }


def sign_flip(net: np.ndarray) -> float:
    """The exact two-sided test that each of the numbers `net` (n,) could as well be its negative.

    p is the share of all choices of signs whose sum is as far from zero as the one found. Of ones
    it is the binomial test of one half, which is McNemar's.
    """
    shares = np.ones(1)  # of each possible sum, from the least to the most
    for size, times in zip(*np.unique(np.abs(net[net != 0]), return_counts=True), strict=True):
        of_size = np.zeros(2 * size * times + 1)
        of_size[:: 2 * size] = binom.pmf(np.arange(times + 1), times, 0.5)
        shares = np.convolve(shares, of_size)
    sums = np.arange(len(shares)) - len(shares) // 2
    return float(min(1, shares[np.abs(sums) >= abs(net.sum())].sum()))


def verdict(comparison: dict[str, Any]) -> str:
    """The comparison in words."""
    test, change = comparison["mcnemar"], comparison["differences"]["macro_f1"]
    unit = f"{comparison['unit']}s"
    low, high = change["interval"] or (0, 0)
    few = comparison["groups"] < FEWEST_GROUPS
    by_genre = (low > 0) - (high < 0)
    by_song = np.sign(test["only_this_right"] - test["only_other_right"])
    by_song *= test["p_value_by_group"] < ALPHA
    span = "too few groups for an interval" if few else "the same in every resample"
    if change["interval"]:
        span = f"95 % interval {low:+.3f} to {high:+.3f}"
    p_value = f"McNemar p = {test['p_value']:.3g}"
    if comparison["groups"] < comparison["songs"]:
        p_value += f", by group p = {test['p_value_by_group']:.3g}"
    lines = [
        f"against {comparison['other']}, on {comparison['songs']} {unit}:",
        f"  macro F1 {change['difference']:+.3f} ({span})",
        f"  {test['only_this_right']} {unit} right only here, {test['only_other_right']} only "
        f"there; {p_value}",
    ]
    if comparison["songs_of_one_only"]:
        only = comparison["songs_of_one_only"]
        lines.append(f"  {unit} in one evaluation only, left out: {only}")
    if not comparison["same_dataset"]:
        lines.append("  the other was measured on another dataset, whose clips may be others")
    if few:
        lines.append(f"  so few groups of {unit} cannot tell whether the models differ")
    elif by_genre * by_song < 0:  # rare genres gain what common ones lose, or the reverse
        lines.append(
            f"  this model is {BETTER[by_genre]} over the genres, {BETTER[by_song]} over the {unit}"
        )
    elif by_genre and by_song:
        lines.append(f"  this model is {BETTER[by_genre]}")
    elif by_genre or by_song:
        lines.append(f"  the two tests disagree: more {unit} would tell")
    else:
        lines.append(f"  no difference that these {unit} can show")
    return "\n".join(lines)


def _logarithm(probabilities: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probabilities, np.finfo(float).tiny))


def _made(folder: str | Path) -> dict[str, Any]:
    """How an evaluation was made, from its metrics.json; empty where it cannot be read."""
    try:
        return dict(json.loads((Path(folder) / METRICS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}
