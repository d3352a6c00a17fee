"""Scores: logits and labels → clip and song metrics, and the same as an `evaluate.Metric`.

Logits are any unnormalised log-probabilities, so that a model's output, its calibrated output and a
song's pooled log-probabilities all go through one door. A class without a clip in the split has
no score of its own (None) and no part in the means over classes.
"""

from collections.abc import Sequence
from typing import Any, Literal

import datasets
import evaluate
import numpy as np
from scipy.special import log_softmax, softmax
from sklearn import metrics as sklearn_metrics

CALIBRATION_BINS = 15  # of equal width, as in Guo et al. 2017, table 1
TOP_K = 3
LEAST_PROBABILITY = 1e-7  # of a true class, or one clip would make the log loss endless
LEAST_SHARE = 1e-30  # of a song, for a class that none of its clips has: its logarithm is a number
Pooling = Literal["log_probability", "probability", "vote"]


def score(logits: np.ndarray, labels: np.ndarray, label_names: Sequence[str]) -> dict[str, Any]:
    """Every metric of this project over logits (n, classes) and labels (n,), ready for JSON.

    Scores are scikit-learn's; the expected calibration error is Guo et al. 2017, equation 3.
    Raises ValueError when the shapes disagree, or there is nothing to score.
    """
    logits, labels = _checked(logits, labels, label_names)
    probabilities = softmax(logits, axis=1)
    predictions = logits.argmax(1)
    per_class = per_class_scores(probabilities, labels, predictions, label_names)
    present = [scores for scores in per_class.values() if scores["support"]]
    every_class = np.arange(len(label_names))
    return {
        "accuracy": float((predictions == labels).mean()),
        "balanced_accuracy": _mean(present, "recall"),
        "macro_precision": _mean(present, "precision"),
        "macro_recall": _mean(present, "recall"),
        "macro_f1": _mean(present, "f1"),
        "mean_average_precision": _mean(present, "average_precision"),
        f"top_{TOP_K}_accuracy": float(np.mean(_rank_of_label(logits, labels) < TOP_K)),
        "log_loss": log_loss(logits, labels),
        "ece": expected_calibration_error(probabilities.max(1), predictions == labels),
        "cohen_kappa": cohen_kappa(labels, predictions, every_class),
        "count": len(labels),
        "per_class": per_class,
    }


def per_class_scores(
    probabilities: np.ndarray, labels: np.ndarray, predictions: np.ndarray, names: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
    """Precision, recall, F1, average precision and support of each class, by name."""
    every_class = np.arange(len(names))
    precision, recall, f1, support = sklearn_metrics.precision_recall_fscore_support(
        labels, predictions, labels=every_class, zero_division=0
    )
    scores = {}
    for index, name in enumerate(names):
        scores[name] = {"precision": None, "recall": None, "f1": None, "average_precision": None}
        if support[index]:
            average = sklearn_metrics.average_precision_score(
                labels == index, probabilities[:, index]
            )
            scores[name] = {
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "f1": float(f1[index]),
                "average_precision": float(average),
            }
        scores[name]["support"] = int(support[index])
    return scores


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-probability of the true class, in nats; probabilities from 1e-7 up."""
    chosen = log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
    return float(-np.maximum(chosen, np.log(LEAST_PROBABILITY)).mean())


def expected_calibration_error(confidences: np.ndarray, correct: np.ndarray) -> float:
    """Mean gap between confidence and accuracy over bins of confidence, weighted by their size."""
    bins = confidence_bins(confidences)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    gaps = np.bincount(bins, confidences - correct, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / counts.sum())


def confidence_bins(confidences: np.ndarray) -> np.ndarray:
    """The bin of each confidence in (0, 1]; a bin holds its upper edge, not its lower one."""
    return np.clip(np.ceil(confidences * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)


def cohen_kappa(labels: np.ndarray, predictions: np.ndarray, classes: np.ndarray) -> float | None:
    """Agreement beyond chance (Cohen 1960); None where one class is all there is."""
    if len(np.union1d(labels, predictions)) < 2:
        return None
    return float(sklearn_metrics.cohen_kappa_score(labels, predictions, labels=classes))


def pool_songs(
    logits: np.ndarray,
    labels: np.ndarray,
    song_ids: Sequence[str],
    pooling: Pooling = "log_probability",
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Clips' logits (n, classes) → songs' log-probabilities, their labels and their ids, sorted.

    A song's score is the mean of its clips' log-probabilities, or of their probabilities, or the
    share of clips that name a class; votes that tie are decided by the mean log-probability.
    """
    logits = np.asarray(logits, dtype=np.float64)
    names, song_of_clip = np.unique(np.asarray(song_ids, dtype=str), return_inverse=True)
    first_clip = np.unique(song_of_clip, return_index=True)[1]
    clips = np.bincount(song_of_clip)
    mean_log = _sum_by(log_softmax(logits, axis=1), song_of_clip, len(names)) / clips[:, None]
    pooled = log_softmax(mean_log, axis=1)
    if pooling == "probability":
        total = _sum_by(softmax(logits, axis=1), song_of_clip, len(names))
        pooled = np.log(np.maximum(total / clips[:, None], LEAST_SHARE))
    elif pooling == "vote":
        votes = _sum_by(
            np.eye(logits.shape[1])[np.argmax(logits, axis=1)], song_of_clip, len(names)
        )
        # A thousandth of the mean decides a tie, and never outweighs one vote.
        votes += 1e-3 * np.exp(pooled)
        pooled = np.log(np.maximum(votes / votes.sum(1, keepdims=True), LEAST_SHARE))
    return pooled, np.asarray(labels)[first_clip], names.tolist()


def evaluate_clips(
    logits: np.ndarray,
    labels: np.ndarray,
    song_ids: Sequence[str],
    label_names: Sequence[str],
    pooling: Pooling = "log_probability",
) -> dict[str, dict[str, Any]]:
    """Both levels of one split: {"clip": {…}, "song": {…}}."""
    song_logits, song_labels, _ = pool_songs(logits, labels, song_ids, pooling)
    return {
        "clip": score(logits, labels, label_names),
        "song": score(song_logits, song_labels, label_names),
    }


class GenreMetric(evaluate.Metric):
    """The same scores as an `evaluate.Metric` that needs no download.

    `GenreMetric(label_names).compute(predictions=logits, references=labels, song_ids=ids)` gives
    `evaluate_clips`; without `song_ids` it gives the clips' `score` alone.
    """

    def __init__(self, label_names: Sequence[str], **options: Any):
        self.label_names = list(label_names)
        super().__init__(keep_in_memory=options.pop("keep_in_memory", True), **options)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Clip and song metrics of a genre classifier.",
            citation="",
            inputs_description="predictions: logits; references: label ids; song_ids: optional.",
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float32")),
                    "references": datasets.Value("int64"),
                }
            ),
        )

    def _compute(self, predictions, references, song_ids=None):
        logits, labels = np.asarray(predictions), np.asarray(references)
        if song_ids is None:
            return score(logits, labels, self.label_names)
        return evaluate_clips(logits, labels, song_ids, self.label_names)


def _checked(logits, labels, label_names) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} do not go together")
    if np.isnan(logits).any():
        raise ValueError("the logits are not all numbers (NaN): the model has diverged")
    if logits.shape[1] != len(label_names):
        raise ValueError(f"logits have {logits.shape[1]} classes, {len(label_names)} are named")
    if labels.min() < 0 or labels.max() >= len(label_names):
        raise ValueError(f"label ids {labels.min()} to {labels.max()} are not all of a named class")
    return logits, labels


def _rank_of_label(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes stand above the true one; of equals, the later one, as in scikit-learn."""
    order = np.argsort(logits, axis=1, kind="stable")[:, ::-1]
    return (order == labels[:, None]).argmax(1)


def _sum_by(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Rows summed by group: (n, classes) → (count, classes)."""
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, groups, values)
    return sums


def _mean(scores: list[dict], key: str) -> float:
    return float(np.mean([each[key] for each in scores]))
