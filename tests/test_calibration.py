"""A temperature is found where there is one, and it is said why where there is none."""

import numpy as np
import pytest

from genreast.evaluation import calibration


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 3.0, 10.0])
def test_temperature_is_found_again(temperature):
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (20_000, 4))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (shares.cumsum(1) < generator.random((20_000, 1))).sum(1)
    overconfident = logits * temperature
    found, reason = calibration.fit_temperature(overconfident, labels)
    assert reason is None
    assert found == pytest.approx(temperature, rel=0.05)
    result = calibration.before_and_after(overconfident, labels, found)
    assert result["after"]["log_loss"] <= result["before"]["log_loss"] + 1e-9
    assert result["after"]["ece"] < 0.02


def test_no_temperature_beyond_all_reason():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 500)
    useless = generator.normal(0, 5, (500, 4))  # the flatter, the better
    temperature, reason = calibration.fit_temperature(useless, labels)
    assert temperature is None and "even odds" in reason
    loud = 3_000 * np.eye(4)[np.where(np.arange(500) % 5, labels, (labels + 1) % 4)]
    temperature, reason = calibration.fit_temperature(loud, labels)  # right in 4 of 5, and so sure
    assert temperature is None and "above 20" in reason
    timid = np.eye(4)[labels] * 0.001
    timid[0] = timid[0, ::-1]  # one mistake: the steeper, the better, up to a T of 0.0001
    temperature, reason = calibration.fit_temperature(timid, labels)
    assert temperature is None and "below 0.05" in reason


@pytest.mark.parametrize("gap", [2.0, 50.0])
def test_temperature_of_a_sure_model_is_found_by_hand(gap):
    """Right in nine of ten, by one gap over three genres: e^(gap / T) is then 9 times 3."""
    labels = np.zeros(100, int)
    logits = np.zeros((100, 4))
    logits[:90, 0] = logits[90:, 1] = gap
    found, _ = calibration.fit_temperature(logits, labels)
    assert found == pytest.approx(gap / np.log(27), rel=1e-3)


def test_no_temperature_where_every_answer_is_right():
    logits, labels = np.eye(4)[[0, 1, 2]] * 2, np.array([0, 1, 2])
    temperature, reason = calibration.fit_temperature(logits, labels)
    assert temperature is None and "judged rightly" in reason
    result = calibration.before_and_after(logits, labels, None)
    assert result["after"] is None and result["before"]["ece"] > 0
