"""How sure a score is: confidence intervals by bootstrap over groups.

What a dataset was split by (songs, artists, albums) is what another test split would draw anew, so
whole groups are drawn, not clips: the cluster bootstrap (Field and Welsh 2007). A group drawn twice
weighs twice: every metric is computed with weights, for all resamples at once.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax
from scipy.stats import norm
from scipy.stats import t as student

from genreast.metrics import LEAST_PROBABILITY

RESAMPLES = 1000
RESAMPLES_OF_MANY = 200  # of more than MANY samples, whose intervals are narrow
MANY = 10_000
LEVEL = 0.95
FEWEST_GROUPS = 5  # drawn from fewer, an interval holds the truth far less often than it says
FEWEST_GROUPS_A_CLASS = 10  # for mean average precision
FEWEST_GROUPS_OF_CLASS = 3  # for the F1 of that class
SAME = 1e-12  # scores this near differ by rounding alone


def group_weights(groups: Sequence[str], resamples: int) -> np.ndarray:
    """How often each sample is drawn in each resample of whole groups, (resamples, n): for the same
    groups the same draws, so that two models meet the same.
    """
    names, group_of_sample = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    return drawn[:, group_of_sample].astype(np.float64)


def weighted_scores(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores under each row of `weights` (resamples, n), each (resamples,).

    The calibration error is not among them: a resample's is larger than the sample's by nature.
    `f1` is per class, (resamples, classes), and NaN where a class was not drawn. With weights of 1
    they are the scores of `metrics.score`.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    predictions = logits.argmax(1)
    classes, total = logits.shape[1], weights.sum(1)
    one_hot, predicted = np.eye(classes)[labels], np.eye(classes)[predictions]
    support, named = weights @ one_hot, weights @ predicted
    hits = weights @ (one_hot * predicted)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(support > 0, hits / support, np.nan)
        f1 = np.where(support > 0, 2 * hits / (support + named), np.nan)
    chosen = log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    chosen = np.maximum(chosen, np.log(LEAST_PROBABILITY))
    return {
        "accuracy": hits.sum(1) / total,
        "balanced_accuracy": np.nanmean(recall, axis=1),
        "macro_f1": np.nanmean(f1, axis=1),
        "mean_average_precision": np.nanmean(
            _average_precisions(softmax(logits, axis=1), one_hot, weights), axis=1
        ),
        "log_loss": -(weights @ chosen) / total,
        "f1": f1,
    }


def _average_precisions(
    probabilities: np.ndarray, one_hot: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Area under precision against recall in steps, as scikit-learn's: (resamples, classes)."""
    averages = np.full((len(weights), one_hot.shape[1]), np.nan)
    for index in range(one_hot.shape[1]):
        order = np.argsort(-probabilities[:, index], kind="stable")
        scores, drawn = probabilities[order, index], weights[:, order]
        # Equal scores are one step: only the last of them is a threshold.
        steps = np.append(np.diff(scores) != 0, True)
        hits = np.cumsum(drawn * one_hot[order, index], axis=1)[:, steps]
        named = np.cumsum(drawn, axis=1)[:, steps]
        positives = hits[:, -1]
        there = positives > 0
        precision = hits[there] / np.maximum(named[there], 1)
        recalled = np.diff(hits[there], axis=1, prepend=0) / positives[there, None]
        averages[there, index] = (precision * recalled).sum(1)
    return averages


def intervals(
    logits: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    label_names: Sequence[str],
    resamples: int | None = None,
) -> dict[str, Any]:
    """95 % intervals [low, high] of the scores, and of each class's F1 under `per_class`.

    Beside them the numbers of `groups` and `resamples`, and as `notes` what has no interval and
    why: nothing with fewer than `FEWEST_GROUPS` groups, no F1 of a class with fewer than
    `FEWEST_GROUPS_OF_CLASS`, or as `score_intervals` says.
    """
    number = len(set(groups))
    if number < FEWEST_GROUPS:
        few = f"no intervals: too few groups ({number}; it takes {FEWEST_GROUPS})"
        return {"groups": number, "resamples": 0, "notes": [few]}
    estimates = weighted_scores(logits, labels, np.ones((1, len(labels))))
    drawn = resampled_scores(logits, labels, groups, resamples)
    pairs = zip(label_names, drawn.pop("f1").T, estimates.pop("f1")[0], strict=True)
    notes, told = [], set()
    if (each := groups_a_class(labels, groups)) < FEWEST_GROUPS_A_CLASS:
        few = f"too few groups a genre ({each:.1f}; it takes {FEWEST_GROUPS_A_CLASS})"
        notes, told = [f"no interval of mean average precision: {few}"], {"mean_average_precision"}
    classes = {name: interval(f1, own, number) for name, f1, own in pairs}
    found_in = groups_of_classes(labels, groups)
    rare = {label for label, count in found_in.items() if count < FEWEST_GROUPS_OF_CLASS}
    if rare:
        few = f"found in too few groups (it takes {FEWEST_GROUPS_OF_CLASS})"
        notes.append(f"no interval of F1 of {len(rare)} of the genres: {few}")
        classes |= {label_names[label]: None for label in rare}
    scores = score_intervals(drawn, estimates, labels, groups)
    counts = {
        "{} of the scores": sum(scores[name] is None for name in scores.keys() - told),
        "F1 of {} of the genres": sum(
            classes[label_names[label]] is None for label in found_in.keys() - rare
        ),
    }
    if alike := [words.format(count) for words, count in counts.items() if count]:
        notes.append(f"no interval where nearly all resamples agree: {', '.join(alike)}")
    return {
        **scores,
        "per_class": {name: {"f1": f1} for name, f1 in classes.items()},
        "groups": number,
        "resamples": len(drawn["accuracy"]),
        "notes": notes,
    }


def score_intervals(
    drawn: dict[str, np.ndarray],
    estimates: dict[str, np.ndarray],
    labels: np.ndarray,
    groups: Sequence[str],
) -> dict[str, list[float] | None]:
    """`interval` of each score from its resamples `drawn`, (resamples,), and its estimate, (1,).

    Mean average precision has none where the classes have fewer than `FEWEST_GROUPS_A_CLASS`
    groups on average: that of few songs is itself too high, and so are both bounds.
    """
    found = {name: interval(drawn[name], estimates[name][0], len(set(groups))) for name in drawn}
    if groups_a_class(labels, groups) < FEWEST_GROUPS_A_CLASS:
        found["mean_average_precision"] = None
    return found


def groups_a_class(labels: np.ndarray, groups: Sequence[str]) -> float:
    """How many groups a class is found in, on average over the classes that are there."""
    found_in = groups_of_classes(labels, groups)
    return found_in.total() / len(found_in)


def groups_of_classes(labels: np.ndarray, groups: Sequence[str]) -> Counter[int]:
    """How many groups each class that is there is found in."""
    return Counter(label for label, _ in set(zip(labels.tolist(), groups, strict=True)))


def resampled_scores(
    logits: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    resamples: int | None = None,
) -> dict[str, np.ndarray]:
    """`weighted_scores` of resamples of the groups."""
    resamples = resamples or (RESAMPLES if len(labels) <= MANY else RESAMPLES_OF_MANY)
    weights = group_weights(groups, resamples)
    # A few resamples at a time: their weights are as many numbers as samples each.
    parts = [
        weighted_scores(logits, labels, part)
        for part in np.array_split(weights, -(-weights.size // 1_000_000))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def interval(values: np.ndarray, estimate: float, groups: int) -> list[float] | None:
    """The 95 % interval of a score from its resamples (resamples,) of so many groups.

    Bias-corrected percentiles (Efron 1987, "Better Bootstrap Confidence Intervals"), further out
    the fewer groups there are: resamples of n groups vary too little, by (n - 1) / n, and n groups
    tell their own spread as Student's t has it (Hesterberg 2015, "What Teachers Should Know About
    the Bootstrap", the expanded percentile interval). It holds the estimate.

    None where groups are too few. None too where both bounds are the same number: nearly all
    resamples agree then, which does not make the score certain.
    """
    values = values[~np.isnan(values)]
    if groups < FEWEST_GROUPS or not len(values):
        return None
    below = np.mean(values < estimate - SAME) + np.mean(np.abs(values - estimate) <= SAME) / 2
    rarest = 0.5 / len(values)
    bias = norm.ppf(np.clip(below, rarest, 1 - rarest))
    reach = np.sqrt(groups / (groups - 1)) * student.ppf((1 + LEVEL) / 2, groups - 1)
    low, high = np.quantile(values, norm.cdf(2 * bias + np.array([-reach, reach])))
    low, high = float(min(low, estimate)), float(max(high, estimate))
    return [low, high] if high - low >= SAME else None
