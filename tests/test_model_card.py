"""The model card says what was measured, and nothing that was not."""

import json
import re
import shutil
from html import escape
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hub_store import front_matter, metadata_errors
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from trained_model import GENRES, TEMPLATE, make_staged
from transformers import ASTFeatureExtractor

from genreast.errors import UserError
from genreast.publishing.card_words import few
from genreast.publishing.licenses import LICENSES
from genreast.publishing.model_card import render
from genreast.publishing.model_facts import ModelFacts, read_facts

EXPECTED = Path(__file__).with_name("expected_model_card.md")


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> Path:
    return make_staged(tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="module")
def card(staged) -> str:
    return render(read_facts(staged, "alice/genre", "cc-by-4.0", "alice/songs"), TEMPLATE)


def test_the_whole_card_reads_as_expected(card):
    assert card == EXPECTED.read_text(encoding="utf-8")


def test_without_facts_only_what_always_holds_is_left(staged):
    facts = ModelFacts("alice/genre", genres=GENRES)
    card = render(facts, TEMPLATE)
    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == [
        "How to use",
        "Intended use and limits",
        "Citation",
    ]
    assert ModelCard(card).data.to_dict().keys() == {"library_name", "pipeline_tag", "tags"}
    for word in ("None", "nan", "More information", "{{", "{%"):
        assert word not in card


def test_the_hub_would_accept_the_metadata_and_read_the_same_results(card, staged):
    assert metadata_errors(front_matter(card), "model") == []
    data = ModelCard(card).data
    assert data.base_model_relation == "finetune"
    assert data.datasets == ["alice/songs"]
    facts = read_facts(staged, "alice/genre")
    values = {(result.metric_name): result for result in data.eval_results}
    for unit in ("song", "clip"):
        result = values[f"Accuracy per {unit}"]
        assert result.metric_value == round(facts.metrics[unit]["accuracy"], 4)
        assert result.dataset_split == "test"
    assert values["Accuracy per song"].metric_args["confidence_interval_95"] == [0.839, 1.0]
    assert "confidence_interval_95" not in values["Accuracy per clip"].metric_args


def test_the_code_on_the_card_runs(card, staged, tmp_path, monkeypatch, capsys):
    song = tmp_path / "song.wav"
    soundfile.write(song, np.random.default_rng(0).normal(0, 0.1, 160_000), 16_000)
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block.replace("alice/genre", str(staged)).replace("song.mp3", str(song)), {})
    printed = capsys.readouterr().out
    assert all(printed.count(genre) == 2 for genre in GENRES)


def test_the_pipeline_hears_as_much_of_a_file_as_the_page_says(staged, tmp_path):
    """A model that was trained on clips of 5 s still takes in all that it has room for."""
    shutil.copytree(staged, tmp_path, dirs_exist_ok=True)
    config = json.loads((staged / "config.json").read_text()) | {"clip_seconds": 5.0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    page = render(read_facts(tmp_path, "alice/genre"), TEMPLATE)
    words = (
        r"A file of up to 5 seconds, .* \(of a longer file this hears the first ([\d.]+) seconds\)"
    )
    heard = round(float(re.search(words, page)[1]) * 16_000)
    sound = np.random.default_rng(0).normal(0, 0.1, 12 * 16_000).astype("float32")
    extractor = ASTFeatureExtractor.from_pretrained(tmp_path)
    whole, kept, half = (
        extractor(sound[:n], 16_000)["input_values"] for n in (None, heard, heard // 2)
    )
    assert np.array_equal(whole, kept) and not np.array_equal(whole, half)


@pytest.mark.parametrize(
    ("spans", "group_by", "same", "words"),
    [
        ({"accuracy": [0.1, 0.9], "groups": 9}, "album", True, "9 groups, each the songs of one a"),
        ({"accuracy": [0.1, 0.9], "groups": 9}, "own group", True, "over 9 groups."),
        ({"accuracy": [0.1, 0.9], "groups": 9}, "album", False, "over 9 groups."),
        ({"accuracy": None, "groups": 3, "per_class": {}}, "album", True, None),
    ],
)
def test_brackets_are_explained_where_there_are_any(spans, group_by, same, words):
    scores = {"song": {"accuracy": 0.5, "count": 40, "per_class": {}}}
    made = {"preparation": {"group_by": group_by}, "same_dataset": same, "split": "test"}
    facts = ModelFacts("a/b", genres=GENRES, metrics=scores, intervals={"song": spans}, **made)
    card = render(facts, TEMPLATE)
    assert ("In brackets" in card) == bool(words) and (words or "") in card


@pytest.mark.parametrize(
    ("group_by", "alone", "split_fact", "each", "caveat"),
    [
        ("artist", None, "songs of one artist", ", each the songs of one artist", False),
        ("artist", 0, "songs of one artist", ", each the songs of one artist", False),
        ("artist", 24, "songs of one artist; 24 of 24 have none", "", True),
        ("folder", 3, "songs of one folder; 3 of 24 have none", "", True),
        ("own group", 1, "songs of one group; 1 of 24 have none", "", True),
        ("album", 0, "songs of one album", ", each the songs of one album", True),
        ("song", None, "clips of one song", ", each a song with its near copies", True),
    ],
)
def test_songs_that_no_group_keeps_together_are_told_of(group_by, alone, split_fact, each, caveat):
    preparation = {"group_by": group_by}
    if alone is not None:
        preparation["songs_without_group"] = alone
    facts = ModelFacts(
        "alice/genre",
        genres=GENRES,
        songs={"train": {"jazz": 10, "rock": 6}, "test": {"jazz": 8}},
        preparation=preparation,
        same_dataset=True,
        metrics={"song": {"accuracy": 0.5}},
        intervals={"song": {"accuracy": [0.1, 0.9], "groups": 8}},
    )
    page = render(facts, TEMPLATE)
    assert f"\n- never in two splits: {split_fact}\n" in page
    assert f"by bootstrap over 8 groups{each}.\n" in page
    assert ("Songs of one artist may be in the training and the test split" in page) == caveat
    facts.split = "train"
    assert "Songs of one artist may be" not in render(facts, TEMPLATE), "of course they are"


def test_splits_that_a_table_gave_are_told_of():
    preparation = {"group_by": "song", "splits_from": "own table"}
    page = render(ModelFacts("alice/genre", genres=GENRES, preparation=preparation), TEMPLATE)
    assert "\n- splits: by a table\n" in page


def test_where_clips_were_measured_no_songs_are_told_of(staged, tmp_path):
    folder = shutil.copytree(staged, tmp_path / "staged")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics |= {"unit": "clip", "song": metrics["clip"]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    facts = read_facts(folder, "alice/genre")
    assert list(facts.metrics) == ["clip"]
    card = render(facts, TEMPLATE)
    results = card[card.index("## Results") : card.index("## Data")]
    assert "song" not in results and "Confusion matrix of the clips" in results
    assert "split holds 40 clips: one clip more or less moves the clip accuracy by 0.025" in card


def test_any_name_of_a_genre_reads_on_the_page_as_it_is_spelled():
    names = ["hip-hop", "R&B", "drum & bass", "lo_fi_beats", "<unk>", "a`b", "`c`", "&amp;"]
    names += ["~~d~~", "*NSYNC* [x](http://e.vil)", "<b>x</b>", "a\\|b", "new\nline"]
    scores = {"support": 4, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    per_class = dict.fromkeys(names, scores)
    songs = {"train": dict.fromkeys(names[-4:], 3) | dict.fromkeys(names[:-4], 99)}
    metrics = {"song": {"accuracy": 0.5, "count": 4, "per_class": per_class}}
    card = render(ModelFacts("a/b", genres=names, songs=songs, metrics=metrics), TEMPLATE)
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(ModelCard(card).text)
    shown = [escape(name).replace("\n", " ") for name in names]
    assert f"genres is: {', '.join(shown)}.\n" in page
    assert f"so less sure: {', '.join(f'{name} (3)' for name in shown[-4:])}." in page
    first_cells = re.findall(r"<tr>\n<td>(.*?)</td>", page)
    assert [cell for cell in first_cells if cell in shown] == [*shown, *shown], "two tables"


@pytest.mark.parametrize(
    ("rare", "words"),
    [
        (0, None),
        (5, "g0 (1), g1 (2), g2 (3), g3 (4), g4 (5)"),
        (6, "6 of 7 genres, the rarest being g0 (1)"),
    ],
)
def test_up_to_five_rare_genres_are_named(rare, words):
    counts = {"many": 99} | {f"g{at}": at + 1 for at in range(rare)}
    assert few(counts, 10) == words


def test_a_licence_that_the_hub_does_not_know_is_refused():
    assert {"mit", "apache-2.0", "cc-by-4.0", "cc-by-nc-sa-4.0", "other"} <= LICENSES
    with pytest.raises(UserError, match="licence 'cc-by' is not known; expected an id"):
        render(ModelFacts("alice/genre", license="cc-by"), TEMPLATE)


@pytest.mark.parametrize(
    ("pooling", "words"),
    [
        ("vote", "pooled from its clips by vote."),
        ("probability", "pooled from its clips by the mean of their probabilities."),
        (None, "pooled from its clips."),
    ],
)
def test_the_page_says_how_songs_were_pooled(pooling, words):
    facts = ModelFacts("alice/genre", metrics={"song": {"accuracy": 0.5}}, pooling=pooling)
    assert words in render(facts, TEMPLATE)
