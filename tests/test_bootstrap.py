"""Weighted scores equal scores of samples repeated; intervals are by group and know their size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student

from genreast.evaluation import bootstrap
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


def test_probabilities_that_tie_in_one_place_tie_in_the_other():
    """Of logits in steps, as float16 has them, many probabilities are equal but for rounding."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 300)
    logits = np.round(generator.normal(size=(300, 5)))
    found = bootstrap.weighted_scores(logits, labels, np.ones((1, 300)))["mean_average_precision"]
    expected = score(logits, labels, [*NAMES, "e"])["mean_average_precision"]
    assert found[0] == pytest.approx(expected, abs=1e-12)


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


def test_of_many_samples_few_resamples_tell_as_much():
    logits, labels = random_split(4, bootstrap.MANY + 2000)
    groups = np.arange(len(labels)) // 10
    few, many = (
        bootstrap.intervals(logits, labels, groups, NAMES, number) for number in (None, 1000)
    )
    assert few["resamples"] < many["resamples"]
    for name in ("accuracy", "macro_f1", "log_loss"):
        width = many[name][1] - many[name][0]
        assert few[name] == pytest.approx(many[name], abs=width / 8), name


def test_the_fewer_groups_the_further_out_the_percentiles():
    """Of resamples as a normal distribution has them the bounds are those of Student's t."""
    values = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    for groups in (8, 40):
        reach = np.sqrt(groups / (groups - 1)) * student.ppf(0.975, groups - 1)
        assert bootstrap.interval(values, 0.0, groups) == pytest.approx([-reach, reach], abs=0.01)
    low, high = bootstrap.interval(np.round(values), 0.0, 40)  # of ties half lie on each side
    assert low == -high
    assert (
        bootstrap.interval(values, -9.0, 40)[0] == -9
        and bootstrap.interval(values, 9.0, 40)[1] == 9
    )


def test_what_has_no_interval_says_so():
    logits, labels = random_split(3, 60)
    four = bootstrap.intervals(logits, labels, [row % 4 for row in range(60)], NAMES)
    assert four == {
        "groups": 4,
        "resamples": 0,
        "notes": ["no intervals: too few groups (4; it takes 5)"],
    }
    five = bootstrap.intervals(logits, labels, [row % 5 for row in range(60)], NAMES)
    assert five["groups"] == 5 and five["accuracy"] and five["mean_average_precision"] is None
    assert five["notes"] == [
        "no interval of mean average precision: too few groups a genre (5.0; it takes 10)"
    ]
    enough = bootstrap.intervals(logits, labels, range(60), NAMES)
    assert enough["mean_average_precision"] and enough["notes"] == []


def test_the_f1_of_a_genre_of_one_or_two_groups_has_no_interval():
    """Nothing tells how far another group of the genre would lie from the few there are."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 3], [30, 6, 4, 2])
    groups = [f"artist {row // 2}" for row in range(42)]  # 15 of a, three of b, two of c, one of d
    logits = generator.normal(size=(42, 4)) + np.eye(4)[labels]
    found = bootstrap.intervals(logits, labels, groups, NAMES)
    assert [found["per_class"][name]["f1"] is None for name in NAMES] == [False, False, True, True]
    few = "found in too few groups (it takes 3)"
    assert f"no interval of F1 of 2 of the genres: {few}" in found["notes"]


def test_what_is_the_same_in_every_resample_is_no_certainty():
    labels = np.arange(60) % 4
    right = bootstrap.intervals(np.eye(4)[labels], labels, range(60), NAMES)
    assert right["accuracy"] is None and right["per_class"]["a"]["f1"] is None
    agree = "no interval where nearly all resamples agree"
    assert right["notes"] == [f"{agree}: 5 of the scores, F1 of 4 of the genres"]
    never = np.eye(4)[np.where(labels == 0, 1, labels)]
    found = bootstrap.intervals(never, labels, range(60), NAMES)
    assert found["notes"] == [f"{agree}: 1 of the scores, F1 of 3 of the genres"]
    assert found["accuracy"] and found["per_class"] == {
        "a": {"f1": None},
        "b": {"f1": found["per_class"]["b"]["f1"]},
        "c": {"f1": None},
        "d": {"f1": None},
    }


def test_bounds_that_are_one_are_no_interval():
    """A model that says the same of all: only a resample without one of the genres differs."""
    labels = np.arange(12) % 2
    found = bootstrap.intervals(np.tile([1.0, 0.0], (12, 1)), labels, range(12), ["a", "b"])
    assert found["accuracy"] and found["balanced_accuracy"] is None


def test_an_interval_holds_its_estimate():
    values = np.random.default_rng(0).normal(size=500)
    low, high = bootstrap.interval(values, 9.0, groups=20)
    assert low <= values.max() and high == 9.0


def covered(intervals: list[list[float]], truth: float) -> float:
    return np.mean([low <= truth <= high for low, high in intervals])


def test_intervals_of_accuracy_over_few_groups_hold_the_truth_in_most_cases():
    """Groups differ: of one artist most songs are right, of another few; half of all there are."""
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 10)
    found = []
    for _ in range(400):
        right = generator.random(60) < generator.beta(2, 2, 6)[groups]
        weights = bootstrap.group_weights(groups, 500)
        found.append(bootstrap.interval(weights @ right / 60, right.mean(), groups=6))
    assert covered(found, 0.5) > 0.9  # plain percentiles: 0.86


def test_intervals_of_average_precision_hold_the_truth():
    """That of ten songs a genre is too high by itself, and more so in its resamples."""
    generator = np.random.default_rng(1)

    def drawn(songs: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(10), songs)
        return generator.normal(size=(10 * songs, 10)) + 1.2 * np.eye(10)[labels], labels

    everything = bootstrap.weighted_scores(*drawn(2000), np.ones((1, 20_000)))
    names = [str(index) for index in range(10)]
    found = [bootstrap.intervals(*drawn(10), range(100), names, 200) for _ in range(60)]
    spans = [one["mean_average_precision"] for one in found]
    assert covered(spans, everything["mean_average_precision"]) > 0.7  # plain percentiles: 0.6
