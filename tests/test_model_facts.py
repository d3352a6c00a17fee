"""What is known of a model's training and data is told on its page, and no more is claimed."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from trained_model import GENRES, TEMPLATE, make_staged

from genreast.errors import UserError
from genreast.publishing.card_words import HELD_OUT, OTHER_DATASET, CardWords
from genreast.publishing.model_card import render
from genreast.publishing.model_facts import ModelFacts, read_facts


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> Path:
    return make_staged(tmp_path_factory.mktemp("card"))


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


@pytest.mark.parametrize("key, value", [("settings", "x"), ("dataset", []), ("base_model", 3)])
def test_a_record_of_another_form_is_refused_by_name(staged, tmp_path, key, value):
    folder = shutil.copytree(staged, tmp_path / "staged")
    path = folder / "training_config.yaml"
    record = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(record | {key: value}))
    with pytest.raises(UserError, match=rf"'training_config\.yaml' is .* its '{key}' is a"):
        read_facts(folder, "alice/genre")
    path.write_text(yaml.safe_dump(record | {key: None}))
    assert render(read_facts(folder, "alice/genre"), TEMPLATE)


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
