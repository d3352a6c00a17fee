"""Two evaluations of the same songs: the tests find a difference, and none where there is none."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from genreast.errors import UserError
from genreast.evaluation import comparison, scoring
from genreast.evaluation.scoring import Scored
from genreast.metrics import score

NAMES = ["rock", "jazz", "disco"]


def made(seed: int, strength: float, count: int = 90) -> Scored:
    labels = np.arange(count) % 3
    noise = np.random.default_rng(seed).normal(size=(count, 3))
    return Scored(
        names=[f"song{row}" for row in range(count)],
        logits=noise + strength * np.eye(3)[labels],
        labels=labels,
        groups=[f"artist{row // 2}" for row in range(count)],
        label_names=NAMES,
    )


MADE = {"split": "test", "pooling": "log_probability", "unit": "song", "dataset_fingerprint": "50"}


def written(folder, scored: Scored, **made: str):
    scoring.write(folder, MADE | made | {"model": "models/other"}, scored, scored)
    return folder


def compare(songs: Scored, folder) -> dict:
    return comparison.compare(songs, folder, MADE)


def test_a_better_model_is_found_better_and_the_other_way_round_worse(tmp_path):
    strong, weak = made(0, 4.0), made(1, 0.5)
    result = compare(strong, written(tmp_path / "weak", weak))
    change = result["differences"]["macro_f1"]
    expected = [score(each.logits, each.labels, NAMES)["macro_f1"] for each in (strong, weak)]
    assert change["difference"] == pytest.approx(expected[0] - expected[1])
    assert change["interval"][0] > 0 and result["mcnemar"]["p_value"] < 0.01
    assert "is better" in comparison.verdict(result)
    disagree = "the two tests disagree: more songs would tell"
    for p_value, words in ((0.049, "is better"), (0.051, disagree)):
        tested = result["mcnemar"] | {"p_value_by_group": p_value}
        assert words in comparison.verdict(result | {"mcnemar": tested})
    back = compare(weak, written(tmp_path / "strong", strong))
    assert "is worse" in comparison.verdict(back)
    assert back["differences"]["accuracy"]["difference"] == pytest.approx(
        -result["differences"]["accuracy"]["difference"]
    )
    assert result["other_model"] == "models/other"


def test_a_model_does_not_differ_from_itself_nor_from_its_like(tmp_path):
    model = made(0, 1.0)
    same = compare(model, written(tmp_path / "same", model))
    assert same["differences"]["accuracy"] == {"difference": 0, "interval": None}
    assert same["mcnemar"]["p_value"] == 1
    verdict = comparison.verdict(same)
    assert "the same in every resample" in verdict and "no difference" in verdict
    like = compare(model, written(tmp_path / "like", made(7, 1.0)))
    assert "no difference" in comparison.verdict(like)


def test_a_model_equals_itself_as_written_however_sure_it_is(tmp_path):
    sure = made(0, 1.0)
    sure.logits = 25 * sure.logits
    same = compare(sure, written(tmp_path / "same", sure))
    assert {(one["difference"], one["interval"]) for one in same["differences"].values()} == {
        (0, None)
    }


def test_better_over_the_genres_may_be_worse_over_the_songs(tmp_path):
    """One model names the common genre alone, the other finds the rare ones at its cost."""
    labels = np.repeat([0, 1, 2], [1000, 20, 20])
    named = labels.copy()
    named[:150] = 1 + np.arange(150) % 2
    artists = [f"artist{row}" for row in range(len(labels))]
    plain, balanced = (
        Scored(artists, 4.0 * np.eye(3)[predictions], labels, artists, NAMES)
        for predictions in (np.zeros_like(labels), named)
    )
    result = compare(balanced, written(tmp_path / "plain", plain))
    words = "this model is better over the genres, worse over the songs"
    assert words in comparison.verdict(result) and "by group" not in comparison.verdict(result)
    back = compare(plain, written(tmp_path / "balanced", balanced))
    assert "worse over the genres, better over the songs" in comparison.verdict(back)


def test_genres_may_be_named_as_columns_are(tmp_path):
    model = made(0, 1.0)
    model.label_names = ["label", "group", "confidence"]
    folder = written(tmp_path / "same", model)
    same = compare(model, folder)
    assert same["songs"] == 90 and same["differences"]["log_loss"]["difference"] == 0


def test_songs_of_few_groups_give_no_interval(tmp_path):
    groups = [str(row % 4) for row in range(90)]
    strong, weak = (replace(made(seed, 4.0 * seed), groups=groups) for seed in (1, 0))
    result = compare(strong, written(tmp_path / "weak", weak))
    assert {one["interval"] for one in result["differences"].values()} == {None}
    verdict = comparison.verdict(result)
    assert "(too few groups for an interval)" in verdict
    assert "so few groups of songs cannot tell whether the models differ" in verdict


@pytest.mark.parametrize(("ours", "theirs"), [(2, 9), (9, 2), (4, 4), (0, 0), (0, 1), (700, 600)])
def test_mcnemar_is_the_exact_binomial_and_by_group_where_a_group_is_a_song(ours, theirs):
    net = np.repeat([1, -1, 0], [ours, theirs, 30])
    found = comparison.mcnemar(net, [str(row) for row in range(len(net))])
    assert (found["only_this_right"], found["only_other_right"]) == (ours, theirs)
    expected = binomtest(ours, ours + theirs).pvalue if ours + theirs else 1
    assert found["p_value"] == found["p_value_by_group"] == pytest.approx(expected)


@pytest.mark.parametrize("net", [[3], [3, -1, 2], [5, 5, -1, 0, 2, 2, 1], [0, 0], [2, -2, 1]])
def test_the_test_by_group_counts_all_signs(net):
    net = np.array(net)
    signs = np.array(list(itertools.product([1, -1], repeat=len(net))))
    expected = (np.abs(signs @ net) >= abs(net.sum())).mean()
    assert comparison.sign_flip(net) == pytest.approx(expected)


def test_songs_of_few_artists_are_not_as_many_witnesses(tmp_path):
    """Twelve artists of ten songs, each of which one model gets right and the other does not."""
    ahead = np.repeat([1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0], 10).astype(bool)
    artists = [f"artist{row // 10}" for row in range(120)]
    songs = [f"song{row}" for row in range(120)]
    labels = np.zeros(120, int)
    here, there = (
        Scored(songs, 4.0 * np.eye(3)[named], labels, artists, NAMES)
        for named in (np.where(ahead, 0, 1), np.where(ahead, 1, 0))
    )
    result = compare(here, written(tmp_path / "there", there))
    assert result["mcnemar"]["p_value"] < 0.001
    assert result["mcnemar"]["p_value_by_group"] == pytest.approx(binomtest(8, 12).pvalue)
    verdict = comparison.verdict(result)
    assert ", by group p = 0.388" in verdict and "no difference that these songs" in verdict


def test_columns_in_another_order_and_songs_missing_there_still_match(tmp_path):
    model = made(0, 1.0)
    order = [2, 0, 1]
    other = Scored(
        names=model.names[:60],
        logits=model.logits[:60][:, order],
        labels=np.array([order.index(label) for label in model.labels[:60]]),
        groups=model.groups[:60],
        label_names=[NAMES[index] for index in order],
    )
    result = compare(model, written(tmp_path / "other", other))
    assert result["songs"] == 60 and result["songs_of_one_only"] == 30
    assert result["differences"]["accuracy"]["difference"] == 0
    assert "in one evaluation only, left out: 30\n" in comparison.verdict(result)


def test_evaluations_made_otherwise_are_refused_or_told_of(tmp_path):
    model, like = made(0, 1.0), made(1, 1.0)
    for name, value in (("pooling", "vote"), ("split", "train")):
        other = written(tmp_path / name, like, **{name: value})
        with pytest.raises(UserError, match=f"was made with --{name} {value}, this evaluation wi"):
            compare(model, other)
    result = compare(model, written(tmp_path / "other", like, dataset_fingerprint="51"))
    assert "measured on another dataset" in comparison.verdict(result)
    same = comparison.verdict(compare(model, written(tmp_path / "same", like)))
    assert "another dataset" not in same and "left out" not in same
    (tmp_path / "same" / "metrics.json").unlink()
    assert comparison.verdict(compare(model, tmp_path / "same")) == same


def test_what_cannot_be_compared_is_refused(tmp_path):
    model = made(0, 1.0)
    with pytest.raises(UserError, match="is no evaluation"):
        compare(model, tmp_path)
    stranger = made(0, 1.0)
    stranger.names = [f"other{row}" for row in range(90)]
    with pytest.raises(UserError, match="shares no song"):
        compare(model, written(tmp_path / "stranger", stranger))
    polka = made(0, 1.0)
    polka.label_names = ["rock", "jazz", "polka"]
    with pytest.raises(UserError, match="other genres"):
        compare(model, written(tmp_path / "polka", polka))
    relabelled = replace(model, labels=(model.labels + 1) % 3)
    with pytest.raises(UserError, match="has 'song0' as jazz, the dataset as rock"):
        compare(model, written(tmp_path / "relabelled", relabelled))
    folder = written(tmp_path / "damaged", model)
    table = (folder / "songs.csv").read_bytes()
    for content, words in (
        (table[:-40], "damaged"),
        (table.replace(b",0.", b",nan 0."), "damaged"),
        (b"\xff\xfe", "cannot be read"),
        (b"path,split\n", "is no evaluation"),
    ):
        (folder / "songs.csv").write_bytes(content)
        with pytest.raises(UserError, match=words):
            compare(model, folder)
