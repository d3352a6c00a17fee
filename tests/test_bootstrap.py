"""Weighted scores equal scores of samples repeated; intervals are by group and know their size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genreast import bootstrap, calibration
from genreast.metrics import score

NAMES = ["a", "b", "c", "d"]


def random_split(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count)
    logits = generator.normal(size=(count, 4)) + np.eye(4)[labels]
    logits[count // 2 :] = logits[: count - count // 2]  # equal scores, whatever the labels
    return logits, labels


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 60))
def test_weights_are_repetitions(seed, count):
    logits, labels = random_split(seed, count)
    weights = np.random.default_rng(seed).integers(0, 4, (3, count)).astype(float)
    weights[:, 0] += 1
    scores = bootstrap.weighted_scores(logits, labels, weights)
    for row, times in enumerate(weights.astype(int)):
        expected = score(np.repeat(logits, times, axis=0), np.repeat(labels, times), NAMES)
        for name, values in scores.items():
            if name != "f1":
                assert values[row] == pytest.approx(expected[name], abs=1e-9), name
        for index, name in enumerate(NAMES):
            f1 = expected["per_class"][name]["f1"]
            assert scores["f1"][row, index] == pytest.approx(np.nan if f1 is None else f1, nan_ok=1)


def test_whole_groups_are_drawn():
    groups = ["x", "y", "x", "z", "y", "x"]
    weights = bootstrap.group_weights(groups, resamples=200)
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 0] + weights[:, 1] + weights[:, 3] == 3).all()
    assert {0, 1, 2} <= set(weights[:, 0])


def test_clips_of_few_groups_are_less_sure_than_as_many_alone():
    logits, labels = random_split(2, 40)
    logits, labels = np.repeat(logits, 10, axis=0), np.repeat(labels, 10)
    grouped = bootstrap.intervals(logits, labels, np.repeat(np.arange(40), 10), NAMES)
    alone = bootstrap.intervals(logits, labels, np.arange(400), NAMES)

    def width(found):
        return found["accuracy"][1] - found["accuracy"][0]

    assert width(grouped) > 2 * width(alone)
    accuracy = score(logits, labels, NAMES)["accuracy"]
    assert grouped["accuracy"][0] < accuracy < grouped["accuracy"][1]
    # The normal approximation of a mean over 40 groups.
    assert width(grouped) == pytest.approx(
        2 * 1.96 * np.sqrt(accuracy * (1 - accuracy) / 40), rel=0.15
    )


def test_one_group_has_no_interval():
    logits, labels = random_split(3, 5)
    assert bootstrap.intervals(logits, labels, ["g"] * 5, NAMES) == {}


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
    timid = np.eye(4)[labels] * 0.001
    timid[0] = timid[0, ::-1]  # one mistake: the steeper, the better, up to a T of 0.0001
    temperature, reason = calibration.fit_temperature(timid, labels)
    assert temperature is None and "too little" in reason


def test_no_temperature_where_every_answer_is_right():
    logits, labels = np.eye(4)[[0, 1, 2]] * 2, np.array([0, 1, 2])
    temperature, reason = calibration.fit_temperature(logits, labels)
    assert temperature is None and "judged rightly" in reason
    result = calibration.before_and_after(logits, labels, None)
    assert result["after"] is None and result["before"]["ece"] > 0
