"""How sure a score is: confidence intervals by bootstrap over groups.

What a dataset was split by (songs, artists, albums) is what another test split would draw anew, so
whole groups are drawn, not clips: the cluster bootstrap (Field and Welsh 2007). A group drawn twice
weighs twice: every metric is computed with weights, for all resamples at once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import log_softmax

RESAMPLES = 1000
RESAMPLES_OF_MANY = 200  # of more than MANY samples, whose intervals are narrow
MANY = 10_000
LEVEL = 0.95


def group_weights(groups: Sequence[str], resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each sample is drawn in each resample of whole groups, (resamples, n)."""
    names, group_of_sample = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    generator = np.random.default_rng(seed)
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
    log_probabilities = log_softmax(logits, axis=1)
    predictions = logits.argmax(1)
    classes, total = logits.shape[1], weights.sum(1)
    one_hot, predicted = np.eye(classes)[labels], np.eye(classes)[predictions]
    support, named = weights @ one_hot, weights @ predicted
    hits = weights @ (one_hot * predicted)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(support > 0, hits / support, np.nan)
        f1 = np.where(support > 0, 2 * hits / (support + named), np.nan)
    chosen = np.maximum(log_probabilities[np.arange(len(labels)), labels], np.log(1e-7))
    return {
        "accuracy": hits.sum(1) / total,
        "balanced_accuracy": np.nanmean(recall, axis=1),
        "macro_f1": np.nanmean(f1, axis=1),
        "mean_average_precision": np.nanmean(
            _average_precisions(np.exp(log_probabilities), one_hot, weights), axis=1
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
    seed: int = 0,
) -> dict[str, Any]:
    """95 % percentile intervals [low, high] of the scores, and of each class's F1.

    With fewer than two groups there is nothing to draw from, and no interval.
    """
    if len(set(groups)) < 2:
        return {}
    scores = resampled_scores(logits, labels, groups, resamples, seed)
    per_class = scores.pop("f1")
    found = {name: interval(values) for name, values in scores.items()}
    found["per_class"] = {
        name: {"f1": interval(values)}
        for name, values in zip(label_names, per_class.T, strict=True)
    }
    return found


def resampled_scores(
    logits: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    resamples: int | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """`weighted_scores` of resamples of the groups, the same ones for the same groups and seed."""
    resamples = resamples or (RESAMPLES if len(labels) <= MANY else RESAMPLES_OF_MANY)
    weights = group_weights(groups, resamples, seed)
    # A few resamples at a time: their weights are as many numbers as samples each.
    parts = [
        weighted_scores(logits, labels, part)
        for part in np.array_split(weights, -(-weights.size // 1_000_000))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def interval(values: np.ndarray) -> list[float] | None:
    """The 95 % percentile interval of resampled scores; None where none could be computed."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    tail = 100 * (1 - LEVEL) / 2
    return [float(edge) for edge in np.percentile(values, [tail, 100 - tail])]
