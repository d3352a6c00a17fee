"""The model card says what was measured, and nothing that was not."""

import json
import re
import shutil
from html import escape
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from hub_store import front_matter, metadata_errors
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from trained_model import GENRES, make_evaluation, make_model_dir, make_onnx_measurements
from transformers import ASTFeatureExtractor

from genreast.card_words import HELD_OUT, OTHER_DATASET, CardWords, few
from genreast.errors import UserError
from genreast.licenses import LICENSES
from genreast.model_card import render
from genreast.model_facts import ModelFacts, read_facts
from genreast.staging import stage_model

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "model_card.md"
EXPECTED = Path(__file__).with_name("expected_model_card.md")


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    model_dir = make_model_dir(folder / "model")
    evaluation = make_evaluation(folder / "evaluation", model_dir)
    stage_model(model_dir, evaluation, folder / "staged", lambda _: "")
    make_onnx_measurements(folder / "staged" / "onnx")
    return folder / "staged"


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


@pytest.mark.parametrize(
    "split, same, best, words",
    [
        ("test", True, True, "the test split of [a/b](URL), which the training did not see."),
        ("validation", True, True, "the validation split of [a/b](URL), which also picked the bes"),
        ("validation", True, False, "the validation split of [a/b](URL)."),
        ("train", True, True, "the train split of [a/b](URL), on which it was trained."),
        ("test", None, True, "the test split of [a/b](URL)."),
        ("test", False, True, "the test split of another dataset than the training's."),
    ],
)
def test_only_what_training_did_not_see_is_called_unseen(split, same, best, words):
    facts = ModelFacts("alice/genre", None, "a/b", GENRES, split=split, same_dataset=same)
    facts.metrics = {"song": {"accuracy": 0.5, "count": 4, "per_class": {}}}
    facts.settings = {"load_best_model_at_end": best}
    card = render(facts, TEMPLATE)
    assert f"Measured on {words.replace('URL', 'https://huggingface.co/datasets/a/b')}" in card
    (result,) = ModelCard(card).data.eval_results
    assert result.dataset_name == ("a/b" if same is not False else OTHER_DATASET)
    assert result.dataset_split == split


@pytest.mark.parametrize("as_trained", ["5094", "another"])
def test_a_split_that_the_dataset_does_not_have_is_not_claimed(staged, tmp_path, as_trained):
    """Where training held it out of the train split, that is said, in the metadata too."""
    folder = shutil.copytree(staged, tmp_path / "staged")
    training = yaml.safe_load((folder / "training_config.yaml").read_text())
    training["dataset"]["fingerprint_as_trained"] = as_trained
    (folder / "training_config.yaml").write_text(yaml.safe_dump(training))
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps(metrics | {"split": "validation"}))
    page = render(read_facts(folder, "alice/genre", None, "a/b"), TEMPLATE)
    held_out = as_trained == "another"
    link = "[a/b](https://huggingface.co/datasets/a/b)"
    assert (f"Measured on the validation split of {link}." in page) != held_out
    assert (f"Measured on {HELD_OUT.format(f' of {link}')}." in page) == held_out
    part = "a part of the train split that training held out"
    assert (f"\n- validation: {part}\n" in page) == held_out
    result, *_ = ModelCard(page).data.eval_results
    assert result.dataset_split == (part if held_out else "validation")
    metrics |= {"split": "validation", "dataset_fingerprint": "of other songs"}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    result, *_ = ModelCard(render(read_facts(folder, "alice/genre"), TEMPLATE)).data.eval_results
    assert result.dataset_split == "validation"


def test_genres_stand_in_the_order_of_the_outputs_not_of_their_numbers_spelling(staged, tmp_path):
    names = [f"genre {number}" for number in range(11)]
    config = json.loads((staged / "config.json").read_text())
    config["id2label"] = {str(number): name for number, name in enumerate(names)}
    (tmp_path / "config.json").write_text(json.dumps(config, sort_keys=True))
    (tmp_path / "model.safetensors").symlink_to(staged / "model.safetensors")
    assert read_facts(tmp_path, "alice/genre").genres == names


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


def test_a_genre_that_was_renamed_since_the_training_keeps_its_songs(staged, tmp_path):
    (tmp_path / "model.safetensors").symlink_to(staged / "model.safetensors")
    config = json.loads((staged / "config.json").read_text())
    config["id2label"]["1"] = "Pop & Punk"
    (tmp_path / "config.json").write_text(json.dumps(config))
    training = yaml.safe_load((staged / "training_config.yaml").read_text())
    training["dataset"]["labels"] = GENRES
    (tmp_path / "training_config.yaml").write_text(yaml.safe_dump(training, sort_keys=False))
    page = render(read_facts(tmp_path, "alice/genre"), TEMPLATE)
    assert "| Pop \\& Punk | 12 | 2 | 4 |" in page
    assert "so less sure: Pop \\& Punk (12)." in page


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
    ("settings", "rows"),
    [
        # What is turned off or unset is no row; zero is a seed like any other.
        (
            {"freeze": "none", "bf16": False, "warmup_steps": 0, "gain_db": None, "seed": 0},
            {"seed": "0"},
        ),
        (
            {"freeze": "body", "bf16": True, "warmup_steps": 0.1, "gain_db": 6.0, "seed": None},
            {"frozen": "body", "warm-up": "0.1", "random gain, dB": "6", "bf16": "yes"},
        ),
        # A layer decay of 1 is none, and without mixup its share of batches says nothing.
        ({"layer_decay": 1.0, "mixup_alpha": 0.0, "mixup_probability": 0.5}, {}),
        ({"gradient_accumulation_steps": 1}, {}),
        (
            {"layer_decay": 0.75, "mixup_alpha": 0.3, "mixup_probability": 0.5},
            {
                "learning rate of a layer against the one above": "0.75",
                "mixup, alpha": "0.3",
                "mixup, share of batches": "0.5",
            },
        ),
        # Steps end the training before its epochs are counted; -1 of them is none.
        ({"num_train_epochs": 5.0, "max_steps": 100}, {"steps": "100"}),
        ({"num_train_epochs": 5.0, "max_steps": -1}, {"epochs": "5"}),
    ],
)
def test_the_settings_that_were_on_have_a_row(staged, tmp_path, settings, rows):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(staged / name)
    (tmp_path / "training_config.yaml").write_text(yaml.safe_dump({"settings": settings}))
    assert CardWords(read_facts(tmp_path, "alice/genre")).recipe == rows


@pytest.mark.parametrize(
    ("averaged", "rows"),
    [
        ({"checkpoints": 2, "kept": True}, {"checkpoints averaged": "2"}),
        ({"checkpoints": 2, "kept": False}, {}),
        (None, {}),
    ],
)
def test_checkpoints_are_called_averaged_where_their_mean_was_kept(
    staged, tmp_path, averaged, rows
):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(staged / name)
    training = {"settings": {"average_checkpoints": 4}, "averaged": averaged}
    (tmp_path / "training_config.yaml").write_text(yaml.safe_dump(training))
    assert CardWords(read_facts(tmp_path, "alice/genre")).recipe == rows


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


@pytest.mark.parametrize("start", ["models/first", "../first", "/models/first", None])
def test_a_local_start_is_no_base_model(staged, tmp_path, monkeypatch, start):
    (tmp_path / "models" / "first").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(staged / name)
    (tmp_path / "training_config.yaml").write_text(yaml.safe_dump({"base_model": start}))
    assert read_facts(tmp_path, "alice/genre").base_model is None


@pytest.mark.parametrize(
    ("record", "dataset"),
    [
        ({"name": "alice/songs", "on_hub": True}, "alice/songs"),
        ({"name": "data/processed", "on_hub": False}, None),
        ({"name": "data/processed"}, None),  # as models before this was recorded have it
        ({"name": "data/here", "on_hub": True}, None),
        ({}, None),
    ],
)
def test_the_page_names_the_dataset_that_training_took_from_the_hub(
    staged, tmp_path, monkeypatch, record, dataset
):
    (tmp_path / "data" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(staged / name)
    (tmp_path / "training_config.yaml").write_text(yaml.safe_dump({"dataset": record}))
    page = ModelCard(render(read_facts(tmp_path, "alice/genre"), TEMPLATE))
    assert page.data.datasets == ([dataset] if dataset else None)
    page = ModelCard(render(read_facts(tmp_path, "alice/genre", None, "bob/own"), TEMPLATE))
    assert page.data.datasets == ["bob/own"]


@pytest.mark.parametrize(
    ("trained", "measured", "published", "named"),
    [
        ("5094", "5094", "5094", True),
        ("5094", "5094", "another", False),
        ("5094", None, "another", False),
        ("5094", None, "5094", True),
        (None, "5094", "another", False),
        ("5094", "another", "5094", True),
        (None, None, "another", True),
        ("5094", "5094", None, True),
    ],
)
def test_a_dataset_published_beside_is_named_where_it_is_the_model_s(
    staged, tmp_path, trained, measured, published, named
):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(staged / name)
    record = {"dataset": {"fingerprint": trained}}
    (tmp_path / "training_config.yaml").write_text(yaml.safe_dump(record))
    metrics = json.loads((staged / "metrics.json").read_text())
    metrics["dataset_fingerprint"] = measured
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    page = render(read_facts(tmp_path, "alice/genre", None, "a/b", published), TEMPLATE)
    data = ModelCard(page).data
    assert data.datasets == (["a/b"] if named else None)
    same = trained == measured or None in (trained, measured)
    assert data.eval_results[0].dataset_type == ("a/b" if named and same else "audiofolder")


@pytest.mark.parametrize(
    ("same", "measured_on"), [(True, " of [a/b](URL)"), (None, ""), (False, "")]
)
def test_scores_are_of_the_training_s_dataset_only_where_that_is_known(same, measured_on):
    scores = {"song": {"accuracy": 0.5}}
    facts = ModelFacts("alice/genre", trained_on="a/b", same_dataset=same, metrics=scores)
    facts.split = "test"
    place = measured_on.replace("URL", "https://huggingface.co/datasets/a/b")
    page = render(facts, TEMPLATE)
    assert f"Measured on the test split{place}" in page
    (result,) = ModelCard(page).data.eval_results
    assert result.dataset_type == ("a/b" if same else "audiofolder")


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
