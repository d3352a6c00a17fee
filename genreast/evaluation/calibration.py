"""Does a probability of 0.8 come true in 80 of 100 cases? Temperature scaling (Guo et al. 2017)."""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from genreast.metrics import expected_calibration_error, log_loss

TEMPERATURES = (0.05, 20.0)  # within which it is looked for


def fit_temperature(
    logits: np.ndarray, labels: np.ndarray
) -> tuple[float, None] | tuple[None, str]:
    """The T whose logits / T have the least log loss; it changes no prediction.

    Where there is no such T, None and why: of a few songs all judged rightly, surer is ever
    better; of a model that only guesses, less sure is.
    """
    logits, rows = np.asarray(logits, np.float64), np.arange(len(labels))
    if (logits.argmax(1) == labels).all():
        return None, "all that was validated on is judged rightly"
    if (logits[rows, labels] - logits.mean(1)).mean() <= 0:  # the slope at 1 / T = 0
        return None, "on the validation split the model does no better than even odds"

    def loss(exponent: float) -> float:
        # Without the floor of `metrics.log_loss`, which forgives sure mistakes: convex in 1 / T.
        return -log_softmax(logits / np.exp(exponent), axis=1)[rows, labels].mean()

    low, high = np.log(TEMPERATURES)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded")
    if found.x - low < 0.05:
        return None, f"on the validation split it would be below {TEMPERATURES[0]:g}"
    if high - found.x < 0.05:
        return None, f"on the validation split it would be above {TEMPERATURES[1]:g}"
    return float(np.exp(found.x)), None


def before_and_after(
    logits: np.ndarray, labels: np.ndarray, temperature: float | None
) -> dict[str, Any]:
    """Calibration error and log loss as the model is, and with its logits divided by T."""
    return {
        "temperature": temperature,
        "before": _calibration(logits, labels),
        "after": _calibration(logits / temperature, labels) if temperature else None,
    }


def _calibration(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    correct = logits.argmax(1) == labels
    return {
        "ece": expected_calibration_error(softmax(logits, axis=1).max(1), correct),
        "log_loss": log_loss(logits, labels),
    }
