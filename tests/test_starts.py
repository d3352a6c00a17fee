"""Where training can start, what is averaged in the end, and which checkpoint is the best."""

import json
import os
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import run_training
from safetensors.torch import load_file, save_file
from test_probe import PROBE
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from genreast.config import parse
from genreast.errors import UserError
from genreast.model_window import window_frames
from genreast.training.model import average_weights, from_pretrained, from_pth, statistics_of
from genreast.training.optimizer import parameter_groups
from genreast.training.recipe import TrainArguments
from genreast.training.start import load_start, start_model
from genreast.training.steps import best_metrics
from genreast.training.trainer import GenreTrainer

NAMES = ["delta-blues", "disco", "jazz"]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> tuple:
    """A model and its `.pth` as earlier transformers named its parameters."""
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=256,
        num_labels=3,
    )  # fmt: skip
    model = ASTForAudioClassification(config).eval()
    torch.nn.init.normal_(model.classifier.dense.weight)
    folder = tmp_path_factory.mktemp("pth")
    model.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    assert any("encoder.layer.0.attention.attention.query" in name for name in weights)
    torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, folder / "old.pth")
    return model, folder / "old.pth"


def test_an_original_state_dict_gives_the_same_logits(original):
    model, path = original
    loaded = from_pth(path, NAMES).eval()
    features = torch.randn(2, 1024, 128)
    torch.testing.assert_close(loaded(features).logits, model(features).logits)
    assert loaded.config.id2label == dict(enumerate(NAMES))


def test_a_byte_order_mark_is_no_part_of_the_first_label(original, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("\r\n".join(NAMES), encoding="utf-8-sig")  # as Windows does
    words = ["--model_name_or_path", str(original[1]), "--pth_labels", str(labels)]
    model = load_start(parse(TrainArguments, argv=words))
    assert model.config.id2label == dict(enumerate(NAMES))


def test_a_checkpoint_that_is_not_there_is_told_before_its_labels_are_asked_for(tmp_path):
    words = ["--model_name_or_path", str(tmp_path / "gone.pth")]
    with pytest.raises(UserError, match=r"gone\.pth' is no file here"):
        load_start(parse(TrainArguments, argv=words))


def test_another_number_of_labels_is_refused(original):
    with pytest.raises(UserError, match="has 3 classes, the label list 2"):
        from_pth(original[1], NAMES[:2])


class Bomb:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    marker = tmp_path / "it-ran"
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(Bomb(marker)))
    torch.save({"classifier.dense.weight": Bomb(marker)}, tmp_path / "zip_bomb.pth")
    for name in ("bomb.pth", "zip_bomb.pth"):
        with pytest.raises(UserError, match=name):
            from_pth(tmp_path / name, NAMES)
        assert not marker.exists()


@pytest.mark.parametrize("key, value", [("mean", "x"), ("mean", None), ("std", 0)])
def test_statistics_that_are_no_numbers_are_told(short_start, tmp_path, key, value):
    start = shutil.copytree(short_start, tmp_path / "start")
    path = start / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError, match=r"preprocessor_config\.json of '.*' is broken"):
        statistics_of(str(start))


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    path = tmp_path / "some.pth"
    if content is None:
        torch.save({"weight": torch.zeros(3)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"some\.pth"):
        from_pth(path, NAMES)


def test_the_ast_authors_own_layer_names_are_told_with_a_start_that_works(tmp_path):
    names = ("v.cls_token", "v.pos_embed", "mlp_head.1.weight")
    torch.save({f"module.{name}": torch.zeros(1) for name in names}, tmp_path / "audioset.pth")
    with pytest.raises(UserError, match=r"own code.*--model_name_or_path MIT/ast-finetuned-audio"):
        from_pth(tmp_path / "audioset.pth", NAMES)


def test_a_part_of_a_model_is_no_start(short_start, tmp_path):
    start = Path(shutil.copytree(short_start, tmp_path / "part"))
    weights = load_file(start / "model.safetensors")
    name = next(name for name in weights if "layer.0" in name)
    save_file({k: v for k, v in weights.items() if k != name}, start / "model.safetensors")
    with pytest.raises(UserError, match="lacks 1 weights"):
        from_pretrained(str(start))
    (start / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(UserError, match="are cut short or no safetensors"):
        from_pretrained(str(start))


def test_a_start_keeps_its_statistics_where_the_dataset_has_none(
    genre_dataset, short_start, tmp_path
):
    start = Path(shutil.copytree(short_start, tmp_path / "start"))
    ASTFeatureExtractor(max_length=160, mean=-5.5, std=3.25).save_pretrained(start)
    run_training(start, genre_dataset, tmp_path / "model", "--max_steps", "1")
    kept = ASTFeatureExtractor.from_pretrained(tmp_path / "model")
    assert (kept.mean, kept.std) == (-5.5, 3.25)


@pytest.mark.parametrize(("window", "heard"), [(3.0, 1.5), (1.0, 1.0), (None, 1.5)])
def test_a_model_hears_no_more_at_once_than_the_clips_it_learnt_from(short_start, window, heard):
    """A window that clips do not fill was full in prediction alone: other answers, and no word."""
    args = TrainArguments(
        output_dir="x", model_name_or_path=str(short_start), window_seconds=window, bf16=False
    )
    model, notes = start_model(args, ["jazz", "rock"], clip_seconds=1.5)
    assert model.config.clip_seconds == heard
    assert window is None or model.config.max_length == window_frames(window)
    assert any("--clip_seconds 3 fills it" in note for note in notes) == (window == 3)


def test_a_layer_learns_more_slowly_than_the_one_above_it(short_start):
    model = from_pretrained(str(short_start))
    groups = parameter_groups(model, 1.0, 0.1, layer_decay=0.5)
    rates = {id(one): group["lr"] for group in groups for one in group["params"]}
    found = {name: rates[id(one)] for name, one in model.named_parameters()}
    layers = model.config.num_hidden_layers
    for name, rate in found.items():
        if ".layers." in name:
            below = layers - int(name.split(".layers.")[1].split(".")[0])
        else:
            below = layers + 1 if ".embeddings." in name else 0
        assert rate == 0.5**below, name


def test_the_rate_that_is_logged_is_the_one_that_was_set(make_trainer):
    settings = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    settings |= {"lr_scheduler_type": "linear", "warmup_steps": 0, "logging_steps": 1}
    trainer = make_trainer(learning_rate=1e-3, layer_decay=0.5, max_steps=2, **settings)
    trainer.train()
    rates = [e["learning_rate"] for e in trainer.state.log_history if "learning_rate" in e]
    assert rates == pytest.approx([1e-3, 5e-4])


def test_matrices_alone_are_decayed(short_start):
    model = from_pretrained(str(short_start))
    groups = parameter_groups(model, 1.0, 0.1, layer_decay=0.5)
    decays = {id(one): group["weight_decay"] for group in groups for one in group["params"]}
    for name, one in model.named_parameters():
        spared = "bias" in name or "norm" in name or "position" in name or "_token" in name
        assert decays[id(one)] == (0.0 if spared else 0.1), name
    assert {*decays.values()} == {0.0, 0.1}


def test_averaged_weights_are_the_mean(tmp_path, short_start):
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        config = ASTConfig.from_pretrained(short_start)
        models.append(ASTForAudioClassification(config))
        models[-1].save_pretrained(tmp_path / str(seed))
    target = ASTForAudioClassification(config)
    average_weights(target, [tmp_path / str(seed) for seed in range(3)])
    for name, weights in target.state_dict().items():
        expected = torch.stack([model.state_dict()[name] for model in models]).mean(0)
        torch.testing.assert_close(weights, expected)


def test_averaging_checkpoints_is_judged_on_validation(genre_dataset, short_start, tmp_path, capfd):
    flags = ["--num_train_epochs", "4", "--average_checkpoints", "3"]
    run_training(short_start, genre_dataset, tmp_path / "model", *flags)
    assert "mean of the last 3 checkpoints: song_macro_f1" in capfd.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [["--patchout", "0.4"], ["--freeze", "body"], PROBE],
    ids=["patchout", "frozen", "probe"],
)
def test_activation_checkpointing_changes_no_weight(flags, genre_dataset, short_start, tmp_path):
    flags = [*flags, "--num_train_epochs", "1"]
    run_training(short_start, genre_dataset, tmp_path / "plain", *flags)
    checkpointing = [*flags, "--activation_checkpointing", "true"]
    run_training(short_start, genre_dataset, tmp_path / "checkpointed", *checkpointing)
    plain, checkpointed = (
        load_file(tmp_path / name / "model.safetensors") for name in ("plain", "checkpointed")
    )
    for name, weights in plain.items():
        torch.testing.assert_close(checkpointed[name], weights, atol=1e-6, rtol=0)


def test_what_cannot_be_averaged_is_said(make_trainer, capsys):
    trainer = make_trainer(average_checkpoints=3)
    assert best_metrics(trainer, trainer.args)[1] is None
    assert "fewer than two checkpoints are kept: nothing is averaged" in capsys.readouterr().err


def test_an_average_that_is_worse_is_not_kept(genre_dataset, short_start, tmp_path, capfd):
    """Judged by the loss, the lower is the better."""
    flags = ["--num_train_epochs", "3", "--average_checkpoints", "2"]
    best = ["--metric_for_best_model", "loss"]
    run_training(short_start, genre_dataset, tmp_path / "model", *flags, *best)
    line = next(line for line in capfd.readouterr().err.splitlines() if "mean of the last" in line)
    after, before, verdict = re.search(r"loss (\S+) against (\S+), (.*)", line).groups()
    assert verdict == ("kept" if float(after) < float(before) else "not kept"), line
    record = yaml.safe_load((tmp_path / "model/training_config.yaml").read_text())
    assert record["averaged"] == {"checkpoints": 2, "kept": verdict == "kept"}


def test_of_checkpoints_with_equal_scores_that_of_the_lower_loss_is_the_best(make_trainer):
    trainer = make_trainer()
    trainer.control.should_save = True

    def is_best(step: int, score: float, loss: float) -> bool:
        metrics = {"eval_song_macro_f1": score, "eval_loss": loss}
        trainer.state.global_step = step
        trainer.state.log_history.append({**metrics, "step": step})
        return trainer._determine_best_metric(metrics, None)

    assert is_best(1, 0.5, 1.0)
    assert not is_best(2, 0.5, 1.1)
    assert is_best(3, 0.5, 0.9)
    assert not is_best(4, 0.4, 0.1)
    assert not is_best(5, 0.5, 0.95)
    assert trainer.state.best_global_step == 3


def test_the_best_is_one_of_the_checkpoints(genre_dataset, short_start, tmp_path, monkeypatch):
    """A model that was evaluated and not saved is gone, however good it was."""
    scores = {1: 0.9, 2: 0.3, 3: 0.8, 4: 0.5, 5: 0.7, 6: 0.4}
    measure = GenreTrainer._metrics

    def rigged(self, prediction):
        score = scores[self.state.global_step]
        return {**measure(self, prediction), "song_macro_f1": score}

    monkeypatch.setattr(GenreTrainer, "_metrics", rigged)
    flags = ["--max_steps", "6", "--eval_strategy", "steps", "--save_strategy", "steps"]
    run_training(
        short_start, genre_dataset, tmp_path, *flags, "--eval_steps", "1", "--save_steps", "2"
    )
    best, published = (
        load_file(folder / "model.safetensors") for folder in (tmp_path / "checkpoint-4", tmp_path)
    )
    assert all(torch.equal(published[name], best[name]) for name in best)
    assert json.loads((tmp_path / "train_metrics.json").read_text())["best"]["epoch"] == 1


def test_training_stops_where_validation_no_longer_gains(genre_dataset, short_start, tmp_path):
    flags = ["--num_train_epochs", "20", "--early_stopping_patience", "2"]
    run_training(short_start, genre_dataset, tmp_path / "model", *flags, "--learning_rate", "0")
    assert json.loads((tmp_path / "model/train_metrics.json").read_text())["steps"] == 3 * 4


def test_a_resumed_run_has_no_more_patience_than_an_unbroken_one(
    genre_dataset, short_start, tmp_path
):
    """With nothing learned no evaluation gains on the first; checkpoints are 4 steps apart."""
    flags = ["--learning_rate", "0", "--save_total_limit", "9", "--num_train_epochs", "9"]

    def steps(name: str, patience: int, *more: str) -> int:
        patient = ["--early_stopping_patience", str(patience)]
        run_training(short_start, genre_dataset, tmp_path / name, *flags, *patient, *more)
        return json.loads((tmp_path / name / "train_metrics.json").read_text())["steps"]

    assert steps("whole", 3) == 16
    for cut, patience, expected in ((12, 3, 16), (16, 3, 16), (16, 4, 20)):
        checkpoint = str(tmp_path / f"whole/checkpoint-{cut}")
        name = f"{cut} {patience}"
        assert steps(name, patience, "--resume_from_checkpoint", checkpoint) == expected, name
    assert steps("without", 0, "--max_steps", "4") == 4
    checkpoint = str(tmp_path / "without/checkpoint-4")
    assert steps("with", 1, "--resume_from_checkpoint", checkpoint) == 8
