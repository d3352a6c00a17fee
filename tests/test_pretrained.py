"""A model is loaded without a word, or refused in words."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
from transformers import ASTConfig, ASTModel, BertConfig

from genreast import pretrained
from genreast.errors import UserError
from genreast.inference import GenreClassifier


def test_as_a_library_it_loads_without_a_warning(tiny_model):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="At least one mel filter")
        GenreClassifier.from_pretrained(tiny_model, device="cpu")


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_models_that_cannot_be_used_are_refused_in_words(tiny_model, tmp_path):
    def refuse(folder, words):
        with pytest.raises(UserError, match=words):
            pretrained.load(str(folder))

    refuse(tmp_path, "holds no config.json")
    refuse(tmp_path / "nowhere", "is not there")
    BertConfig().save_pretrained(tmp_path / "bert")
    refuse(tmp_path / "bert", "of type 'bert'")
    config = ASTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    ASTModel(config).save_pretrained(tmp_path / "bare")
    refuse(tmp_path / "bare", "not audio classification")
    nameless = shutil.copytree(tiny_model, tmp_path / "nameless")
    change_config(nameless, id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})
    refuse(nameless, "no label names")
    headless = shutil.copytree(tmp_path / "bare", tmp_path / "headless")
    change_config(headless, id2label={"0": "rock", "1": "jazz"}, architectures=None)
    shutil.copy(tiny_model / "preprocessor_config.json", headless)
    refuse(headless, "no trained 'classifier")
    other = shutil.copytree(tiny_model, tmp_path / "other")
    features = json.loads((other / "preprocessor_config.json").read_text())
    for change, words in (
        ({"max_length": 512}, "max_length 512"),
        ({"mean": None}, "mean None and std 3.4 in it; expected numbers"),
        ({"std": 0}, "std 0 in it; expected numbers, std above 0"),
    ):
        (other / "preprocessor_config.json").write_text(json.dumps(features | change))
        refuse(other, words)
    (other / "preprocessor_config.json").unlink()
    refuse(other, "holds no preprocessor_config.json")
    damaged = shutil.copytree(tiny_model, tmp_path / "damaged")
    weights = (tiny_model / "model.safetensors").read_bytes()
    for content in (
        weights[:5000],
        weights[:-1],
        b"",
        b"version https://git-lfs.github.com/spec/v1",
    ):
        (damaged / "model.safetensors").write_bytes(content)
        refuse(damaged, "are cut short or no safetensors")
    refuse(damaged / "model.safetensors", "is a file; expected a model folder")
    for change, words in (
        ({"problem_type": "multi_label_classification"}, "expected one genre a song"),
        ({"hidden_size": 64}, "other shapes than its config.json says"),
        ({"hidden_size": "x"}, "expected int, got str"),
        ({"dtype": "x"}, "cannot be loaded"),
        ({"hidden_act": "x"}, "cannot be loaded: 'x'"),
        ({"architectures": 1}, "is a bare 1"),
        ({"clip_seconds": "x"}, "'x'; expected seconds above 0"),
        ({"clip_seconds": -1}, "-1; expected seconds above 0"),
    ):
        changed = shutil.copytree(tiny_model, tmp_path / f"changed {words}")
        change_config(changed, **change)
        refuse(changed, words)
    changed = shutil.copytree(tiny_model, tmp_path / "labelled")
    for labels in (
        7,
        {"1": "rock", "2": "jazz", "3": "pop"},
        {"0": 1970, "1": 1980, "2": 1990},
        {"0": "rock", "1": "jazz", "2": "rock"},
        {"0": "rock", "1": "jazz", "2": ""},
        ["rock", "jazz", "pop"],
    ):
        change_config(changed, id2label=labels)
        refuse(changed, r"expected the numbers from 0, each with a name of its own")
    (changed / "config.json").write_text("[]")
    refuse(changed, "is no object")
    (changed / "config.json").write_text("null")
    refuse(changed, "cannot be loaded")
    with pytest.raises(UserError, match="--device is 'banana'; expected cpu, cuda, cuda:1 or mps"):
        GenreClassifier.from_pretrained(tiny_model, device="banana")


@pytest.mark.parametrize("name", pretrained.MODEL_FILES)
def test_a_file_that_may_not_be_read_is_not_told_as_missing(
    name, tiny_model, tmp_path, no_privileges
):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / name).chmod(0)
    with pytest.raises(PermissionError, match=name):
        GenreClassifier.from_pretrained(model, device="cpu")


def test_a_disk_that_refuses_modes_does_not_end_what_is_saved(tiny_model, monkeypatch):
    def refuse(*_):  # as FAT does through FUSE
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    pretrained.share_weights(tiny_model)
