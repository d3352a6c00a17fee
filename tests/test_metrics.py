"""Scores equal scikit-learn's, songs pool as promised, and the metric works offline."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn import metrics as reference

from genreast import metrics

NAMES = ["rock", "jazz", "disco", "metal"]


def random_split(seed: int, clips: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits that know something of their labels; every class is there."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), generator.integers(0, classes, clips - classes)])
    logits = generator.normal(size=(clips, classes)) + 1.5 * np.eye(classes)[labels]
    return logits, labels


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), clips=st.integers(8, 80), classes=st.integers(3, 9))
def test_scores_equal_scikit_learn(seed, clips, classes):
    logits, labels = random_split(seed, max(clips, classes), classes)
    probabilities, predictions = softmax(logits, axis=1), logits.argmax(1)
    scores = metrics.score(logits, labels, [str(c) for c in range(classes)])
    macro = {"average": "macro", "zero_division": 0}
    one_hot = np.eye(classes)[labels]
    expected = {
        "accuracy": reference.accuracy_score(labels, predictions),
        "balanced_accuracy": reference.balanced_accuracy_score(labels, predictions),
        "macro_precision": reference.precision_score(labels, predictions, **macro),
        "macro_recall": reference.recall_score(labels, predictions, **macro),
        "macro_f1": reference.f1_score(labels, predictions, **macro),
        "mean_average_precision": reference.average_precision_score(one_hot, probabilities),
        "top_3_accuracy": reference.top_k_accuracy_score(
            labels, probabilities, k=3, labels=range(classes)
        )
        if classes > 3
        else 1.0,
        "log_loss": reference.log_loss(labels, probabilities, labels=range(classes)),
        "cohen_kappa": reference.cohen_kappa_score(labels, predictions),
    }
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, abs=1e-9), name
    f1 = reference.f1_score(labels, predictions, average=None, zero_division=0)
    assert [each["f1"] for each in scores["per_class"].values()] == pytest.approx(f1)


def test_class_absent_from_the_split_has_no_score_and_no_part_in_the_means():
    logits, labels = random_split(1)
    kept = labels != 2
    scores = metrics.score(logits[kept], labels[kept], NAMES)
    assert scores["per_class"]["disco"] == {
        "precision": None,
        "recall": None,
        "f1": None,
        "average_precision": None,
        "support": 0,
    }
    present = [0, 1, 3]
    expected = reference.f1_score(
        labels[kept], logits[kept].argmax(1), labels=present, average="macro"
    )
    assert scores["macro_f1"] == pytest.approx(expected)


def test_calibration_error_is_the_gap_of_confidence_and_accuracy():
    confidences = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, True, True, False, True, False])
    expected = (4 * abs(0.95 - 0.75) + 2 * abs(0.55 - 0.5)) / 6
    assert metrics.expected_calibration_error(confidences, correct) == pytest.approx(expected)


def test_a_bin_of_confidence_holds_its_upper_edge():
    edges = np.arange(1, metrics.CALIBRATION_BINS + 1) / metrics.CALIBRATION_BINS
    expected = np.arange(metrics.CALIBRATION_BINS)
    assert metrics.confidence_bins(edges).tolist() == expected.tolist()
    above = metrics.confidence_bins(edges[:-1] + 1e-9)
    assert above.tolist() == expected[1:].tolist()


def test_the_log_loss_of_an_impossible_answer_is_bounded():
    assert metrics.log_loss(np.array([[0.0, 50.0]]), np.array([0])) == pytest.approx(-np.log(1e-7))


def test_equal_scores_rank_as_in_scikit_learn():
    random = np.random.default_rng(0)
    logits = random.integers(0, 2, (200, 6)).astype(float)  # most classes tie
    labels = random.integers(0, 6, 200)
    expected = reference.top_k_accuracy_score(labels, logits, k=3, labels=np.arange(6))
    names = [str(index) for index in range(6)]
    assert metrics.score(logits, labels, names)["top_3_accuracy"] == pytest.approx(expected)


def test_one_class_and_one_clip_score_without_a_fault():
    scores = metrics.score(np.array([[0.1, 3.0, 0.2, 0.0]]), np.array([1]), NAMES)
    assert scores["accuracy"] == scores["macro_f1"] == 1.0
    assert scores["cohen_kappa"] is None
    wrong = metrics.score(np.array([[3.0, 0.1, 0.2, 0.0]]), np.array([1]), NAMES)
    assert wrong["cohen_kappa"] == 0  # of two classes that are there, none is agreed on


def test_songs_are_the_mean_of_their_clips_log_probabilities():
    logits, labels = random_split(3, clips=12)
    song_ids = [f"song-{label}" for label in labels]
    pooled, song_labels, names = metrics.pool_songs(logits, labels, song_ids)
    assert names == sorted(set(song_ids))
    for row, label, name in zip(pooled, song_labels, names, strict=True):
        clips = np.array([song_id == name for song_id in song_ids])
        mean = log_softmax(logits[clips], axis=1).mean(0)
        assert softmax(row) == pytest.approx(softmax(mean))
        assert f"song-{label}" == name


def test_mean_probability_and_vote_decide_as_they_say():
    logits = np.log([[0.9, 0.05, 0.05], [0.3, 0.36, 0.34], [0.3, 0.36, 0.34]])
    labels, song = np.zeros(3, int), ["s"] * 3
    mean, _, _ = metrics.pool_songs(logits, labels, song, "probability")
    assert softmax(mean[0]) == pytest.approx([0.5, 0.77 / 3, 0.73 / 3])
    vote, _, _ = metrics.pool_songs(logits, labels, song, "vote")
    assert softmax(vote[0]) == pytest.approx([1 / 3, 2 / 3, 0], abs=1e-3)


def test_tied_votes_go_to_the_higher_mean():
    logits = np.log([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
    vote, _, _ = metrics.pool_songs(logits, np.zeros(2, int), ["s", "s"], "vote")
    assert vote[0].argmax() == 1


@pytest.mark.parametrize("pooling", metrics.Pooling.__args__)
@pytest.mark.filterwarnings("error")
def test_songs_of_a_model_that_is_sure_beyond_all_measure_have_finite_scores(pooling):
    logits = np.array([[1e4, 0.0, -1e4], [1e4, -1e4, 0.0], [0.0, 1e4, -1e4], [0.0, 2.0, 1.0]])
    pooled, _, _ = metrics.pool_songs(logits, np.array([0, 0, 2, 1]), list("aabc"), pooling)
    assert np.isfinite(pooled).all()
    assert pooled.argmax(1).tolist() == [0, 1, 1]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), pooling=st.sampled_from(metrics.Pooling.__args__))
def test_order_of_clips_does_not_matter_and_single_clips_pool_to_themselves(seed, pooling):
    logits, labels = random_split(seed, clips=20)
    song_ids = np.array([f"{label}-{index % 3}" for index, label in enumerate(labels)])
    order = np.random.default_rng(seed).permutation(20)
    there = metrics.pool_songs(logits, labels, song_ids, pooling)
    back = metrics.pool_songs(logits[order], labels[order], song_ids[order], pooling)
    assert there[0] == pytest.approx(back[0]) and there[2] == back[2]
    alone = metrics.pool_songs(logits, labels, [f"{n:02}" for n in range(20)], pooling)[0]
    assert (alone.argmax(1) == logits.argmax(1)).all()


def test_metric_gives_the_same_as_the_functions_without_a_network():
    logits, labels = random_split(5)
    logits = logits.astype(np.float32)
    song_ids = [str(index // 3) for index in range(len(labels))]
    metric = metrics.GenreMetric(NAMES)
    assert metric.compute(predictions=logits, references=labels) == metrics.score(
        logits, labels, NAMES
    )
    both = metric.compute(predictions=logits, references=labels, song_ids=song_ids)
    assert both == metrics.evaluate_clips(logits, labels, song_ids, NAMES)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((0, 4)), np.zeros(0, int)),
        (np.zeros((2, 4)), np.zeros(3, int)),
        (np.zeros((2, 3)), np.zeros(2, int)),
        (np.zeros((2, 4)), np.array([0, 4])),
        (np.full((2, 4), np.nan), np.array([0, 1])),
    ],
)
def test_what_cannot_be_scored_is_refused(logits, labels):
    with pytest.raises(ValueError):
        metrics.score(logits, labels, NAMES)
