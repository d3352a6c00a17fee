"""Do two models differ on the same songs? Paired bootstrap and McNemar's test.

Both read `songs.csv` of an evaluation folder; songs are matched by their id.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from genreast.bootstrap import group_weights, weighted_scores
from genreast.errors import UserError
from genreast.evaluation import METRICS_FILE, SONGS_FILE, Scored

COMPARED = ("accuracy", "balanced_accuracy", "macro_f1", "mean_average_precision", "log_loss")
ALPHA = 0.05


def read_songs(folder: str | Path, label_names: list[str]) -> Scored:
    """The songs of an evaluation folder, with its classes put in the order of `label_names`.

    Raises UserError when it is no evaluation folder, or one of other genres.
    """
    path = Path(folder) / SONGS_FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        words = getattr(error, "strerror", None) or error
        raise UserError(
            f"'{folder}' is no evaluation: {path} cannot be read ({words}); "
            "make one with evaluate_model.py"
        ) from error
    needed = {"song_id", "group", "label", "confidence"}
    if not needed <= set(columns):
        raise UserError(f"'{folder}' is no evaluation; make one with evaluate_model.py")
    if missing := [name for name in label_names if name not in columns]:
        raise UserError(f"'{folder}' is an evaluation of other genres: it has no '{missing[0]}'")
    if more := sorted({str(row["label"]) for row in rows} - set(label_names)):
        raise UserError(f"'{folder}' is an evaluation of other genres: it has '{more[0]}' too")
    try:
        probabilities = np.array([[float(row[name]) for name in label_names] for row in rows])
        labels = np.array([label_names.index(row["label"]) for row in rows])
        if not np.isfinite(probabilities).all():
            raise ValueError("a probability is no number")
    except (ValueError, TypeError) as error:
        raise UserError(f"'{path}' is damaged ({error}): evaluate again") from error
    return Scored(
        names=[row["song_id"] for row in rows],
        logits=np.log(np.maximum(probabilities, 1e-7)),
        labels=labels,
        groups=[row["group"] for row in rows],
        label_names=label_names,
    )


def compare(songs: Scored, other_folder: str | Path) -> dict[str, Any]:
    """What changes from another evaluation to this one, on the songs both have.

    Gives for each score the difference (this − other) with its 95 % interval by bootstrap over
    groups, and McNemar's exact test of the songs only one of the two gets right.

    Raises UserError when the other is no evaluation of these songs.
    """
    other = read_songs(other_folder, songs.label_names)
    here, there = _shared_rows(songs, other, other_folder)
    labels = songs.labels[here]
    if not np.array_equal(labels, other.labels[there]):
        raise UserError(f"'{other_folder}' gives some songs other labels: evaluate again")
    groups = [songs.groups[row] for row in here]
    ours, theirs = songs.logits[here], other.logits[there]
    only_ours, only_theirs = _only(ours, theirs, labels)
    return {
        "other": str(other_folder),
        "other_model": _model_of(other_folder),
        "songs": len(here),
        "songs_of_one_only": len(songs.names) + len(other.names) - 2 * len(here),
        "differences": differences(ours, theirs, labels, groups),
        "mcnemar": mcnemar(only_ours, only_theirs),
    }


def differences(
    ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray, groups: list[str]
) -> dict[str, dict[str, Any]]:
    """Score by score: {"difference", "interval"}; both models see the same draws of groups.

    With fewer than two groups there is no interval.
    """
    weights = np.concatenate([np.ones((1, len(labels))), group_weights(groups)])
    here = weighted_scores(ours, labels, weights)
    there = weighted_scores(theirs, labels, weights)
    found = {}
    for name in COMPARED:
        change = here[name] - there[name]
        interval = None
        if len(set(groups)) > 1:  # else there is nothing to draw from
            tails = 100 * ALPHA / 2, 100 * (1 - ALPHA / 2)
            interval = [float(edge) for edge in np.percentile(change[1:], tails)]
        found[name] = {"difference": float(change[0]), "interval": interval}
    return found


def mcnemar(only_ours: int, only_theirs: int) -> dict[str, float | int]:
    """The exact two-sided test that either model is as likely to be the only one right."""
    total = only_ours + only_theirs
    p_value = binomtest(only_ours, total).pvalue if total else 1.0
    return {
        "only_this_right": only_ours,
        "only_other_right": only_theirs,
        "p_value": float(p_value),
    }


def verdict(comparison: dict[str, Any]) -> str:
    """The comparison in words."""
    test, change = comparison["mcnemar"], comparison["differences"]["macro_f1"]
    low, high = change["interval"] or (0, 0)
    apart = low > 0 or high < 0
    interval = f"95 % interval {low:+.3f} to {high:+.3f}" if change["interval"] else "one group"
    lines = [
        f"against {comparison['other']}, on {comparison['songs']} songs:",
        f"  macro F1 {change['difference']:+.3f} ({interval})",
        f"  {test['only_this_right']} songs right only here, {test['only_other_right']} only "
        f"there; McNemar p = {test['p_value']:.3g}",
    ]
    if not change["interval"]:
        lines.append("  songs of one group cannot tell whether the models differ")
    elif apart and test["p_value"] < ALPHA:
        lines.append(f"  this model is {'better' if low > 0 else 'worse'}")
    elif apart or test["p_value"] < ALPHA:
        lines.append("  the two tests disagree: more songs would tell")
    else:
        lines.append("  no difference that these songs can show")
    return "\n".join(lines)


def _shared_rows(songs: Scored, other: Scored, folder: str | Path) -> tuple[list[int], list[int]]:
    row_there = {name: row for row, name in enumerate(other.names)}
    here = [row for row, name in enumerate(songs.names) if name in row_there]
    if not here:
        raise UserError(f"'{folder}' shares no song with this evaluation: use the same split")
    return here, [row_there[songs.names[row]] for row in here]


def _only(ours: np.ndarray, theirs: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    right, right_there = ours.argmax(1) == labels, theirs.argmax(1) == labels
    return int((right & ~right_there).sum()), int((~right & right_there).sum())


def _model_of(folder: str | Path) -> str | None:
    try:
        return json.loads((Path(folder) / METRICS_FILE).read_text(encoding="utf-8")).get("model")
    except (OSError, ValueError):
        return None
