"""A run that goes on with other settings, clips or genres says what that means, or refuses."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import refusal_to_resume, run_training
from datasets import Dataset
from safetensors.torch import load_file

from genreast.training.held_out import training_record


def test_the_best_checkpoint_is_judged_by_the_metric_of_now(
    finished, genre_dataset, short_start, tmp_path
):
    """A macro-F1 stands below any loss: no later checkpoint would count as better."""
    words = ["--max_steps", "17", "--metric_for_best_model", "loss"]
    words += ["--resume_from_checkpoint", str(finished / "checkpoint-16")]
    run_training(short_start, genre_dataset, tmp_path / "run", *words)
    state = json.loads((tmp_path / "run/checkpoint-17/trainer_state.json").read_text())
    losses = {row["step"]: row["eval_loss"] for row in state["log_history"] if "eval_loss" in row}
    assert state["best_metric"] == losses[state["best_global_step"]]


def test_a_checkpoint_of_other_genres_is_refused(finished, genre_dataset, short_start, tmp_path):
    other = shutil.copytree(genre_dataset, tmp_path / "data")
    for table in other.glob("*/metadata.parquet"):
        rows = Dataset.from_parquet(str(table), cache_dir=str(tmp_path / "cache"))
        names = {"rock": "polka", "jazz": "jazz", "disco": "disco"}
        labels = [names[rows.features["label"].int2str(label)] for label in rows["label"]]
        rows = rows.remove_columns("label").add_column("label", labels)
        rows.class_encode_column("label").to_parquet(table)
    message = refusal_to_resume(finished / "checkpoint-16", short_start, other, tmp_path / "run")
    assert "genres: rock, jazz, disco; now: disco, jazz, polka" in message


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--from_scratch", "tiny"], "hidden_size: 32; now: 192"),
        (["--time_stride", "10"], "time_stride: 16; now: 10"),
        (["--freeze", "body"], "does not fit; resume with the settings it was made with"),
        (["--optim", "adafactor"], "resume with --optim adamw_torch_fused"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    flags, words, finished, genre_dataset, short_start, tmp_path
):
    flags = [*flags, "--num_train_epochs", "8"]
    checkpoint = finished / "checkpoint-16"
    assert words in refusal_to_resume(
        checkpoint, short_start, genre_dataset, tmp_path / "run", *flags
    )


def test_other_batches_than_the_checkpoints_are_told_of(
    finished, genre_dataset, short_start, tmp_path, capsys
):
    checkpoint = str(finished / "checkpoint-16")
    flags = ["--resume_from_checkpoint", checkpoint, "--max_steps", "17"]
    for batch_size, told in (("8", False), ("4", True)):
        output = tmp_path / batch_size
        flags += ["--per_device_train_batch_size", batch_size]
        run_training(short_start, genre_dataset, output, *flags)
        words = "--per_device_train_batch_size 8, now 4): the epoch it is in may hear some clips"
        assert (words in capsys.readouterr().err) == told


def step_sizes(before: Path, after: Path) -> dict[str, float]:
    """How far one step took each weight of a checkpoint."""
    one, other = (load_file(path / "model.safetensors") for path in (before, after))
    return {name: (other[name] - one[name]).abs().max().item() for name in one}


@pytest.mark.parametrize("schedule", ["cosine", "reduce_lr_on_plateau"])
def test_a_resumed_run_learns_at_the_rate_it_is_given_anew(
    schedule, genre_dataset, short_start, tmp_path, capsys
):
    flags = ["--lr_scheduler_type", schedule, "--warmup_steps", "0", "--max_steps", "3"]
    flags += ["--save_total_limit", "9", "--adam_beta1", "0", "--adam_beta2", "0"]
    flags += ["--save_strategy", "steps", "--eval_strategy", "steps"]
    flags += ["--save_steps", "1", "--eval_steps", "1"]
    run_training(short_start, genre_dataset, tmp_path / "run", *flags)
    found = {}
    for name, rates in {
        "again": [],
        "lower": ["--learning_rate", "1e-4"],
        "flat": ["--layer_decay", "0.5"],
        "decayed": ["--weight_decay", "100"],
    }.items():
        resumed = ["--resume_from_checkpoint", str(tmp_path / "run/checkpoint-2"), *rates]
        capsys.readouterr()
        run_training(short_start, genre_dataset, tmp_path / name, *flags, *resumed)
        told = capsys.readouterr().err
        assert ("training goes on as now" in told) == bool(rates)
        assert not rates or f"was made with {rates[0]}" in told
        before, after = tmp_path / "run/checkpoint-2", tmp_path / name / "checkpoint-3"
        found[name] = step_sizes(before, after)
    assert found["again"] == step_sizes(
        tmp_path / "run/checkpoint-2", tmp_path / "run/checkpoint-3"
    )
    head, layer = "classifier.dense.weight", [name for name in found["again"] if "layer.0" in name]
    # Without memory a step of Adam is as long as the rate.
    assert found["lower"][head] == pytest.approx(found["again"][head] / 10, rel=0.02)
    for name in layer:
        assert found["flat"][name] < 0.5 * found["again"][name]
    assert found["decayed"][head] > 1.5 * found["again"][head]


@pytest.mark.parametrize(
    "flags", [["--seed", "7"], ["--sampling_exponent", "0.5"], ["--count_by", "song"]]
)
def test_other_clips_than_the_checkpoints_are_told_of(
    flags, finished, genre_dataset, short_start, tmp_path, capsys
):
    words = ["--resume_from_checkpoint", str(finished / "checkpoint-16"), "--max_steps", "17"]
    run_training(short_start, genre_dataset, tmp_path / "run", *words, *flags)
    told = capsys.readouterr().err
    assert re.search(rf"other settings \({flags[0]} \w+(\.0)?, now {flags[1]}\): the epoch", told)


def test_a_changed_objective_is_told_of_and_recorded_with_the_step_of_the_change(
    finished, genre_dataset, short_start, tmp_path, capsys
):
    first = ["--loss", "focal", "--max_steps", "20"]
    then = ["--loss", "focal", "--max_steps", "24", "--warmup_steps", "0"]
    checkpoint, told = finished / "checkpoint-16", []
    for name, flags in (("first", first), ("then", then)):
        words = ["--resume_from_checkpoint", str(checkpoint), "--report_to", "tensorboard"]
        capsys.readouterr()
        run_training(short_start, genre_dataset, tmp_path / name, *words, *flags)
        told.append(capsys.readouterr().err)
        checkpoint = tmp_path / "first/checkpoint-20"
    for words in ("--loss cross_entropy, now focal", "--max_steps -1, now 20"):
        assert words in told[0] and words not in told[1]
    assert "--warmup_steps 0.1, now 0.0" in told[1] and "twice" not in told[0] + told[1]
    record = yaml.safe_load((tmp_path / "then/training_config.yaml").read_text())
    assert record["settings_before_step"] == {
        16: {"loss": "cross_entropy", "max_steps": -1, "num_train_epochs": 4.0},
        20: {"max_steps": 20, "warmup_steps": 0.1},
    }
    untouched = yaml.safe_load((finished / "training_config.yaml").read_text())
    assert untouched["settings_before_step"] == {}


def test_a_dataset_that_has_grown_is_told_of(
    finished, genre_dataset, short_start, tmp_path, capsys
):
    data = shutil.copytree(genre_dataset, tmp_path / "data")
    table = data / "train/metadata.parquet"
    rows = Dataset.from_parquet(str(table), cache_dir=str(tmp_path / "cache"))
    rows.select([*range(len(rows)), 0]).to_parquet(table)
    words = ["--resume_from_checkpoint", str(finished / "checkpoint-16"), "--max_steps", "17"]
    run_training(short_start, data, tmp_path / "run", *words)
    assert re.search(r"\(dataset \w{8}, now \w{8}\): the epoch", capsys.readouterr().err)


def test_a_run_does_not_go_on_to_be_judged_by_what_it_has_learned(
    genre_dataset, short_start, tmp_path
):
    """Without a validation split, another seed holds out other songs."""
    data = shutil.copytree(genre_dataset, tmp_path / "data")
    shutil.rmtree(data / "validation")
    flags = ["--max_steps", "1", "--save_strategy", "steps", "--save_steps", "1"]
    flags += ["--eval_strategy", "steps", "--eval_steps", "1"]
    run_training(short_start, data, tmp_path / "first", *flags)
    checkpoint = tmp_path / "first/checkpoint-1"
    message = refusal_to_resume(
        checkpoint, short_start, data, tmp_path / "run", *flags, "--seed", "7"
    )
    assert "held out to judge it (--seed 0, now 7)" in message
    again = ["--resume_from_checkpoint", str(checkpoint), "--max_steps", "2"]
    run_training(short_start, data, tmp_path / "run", *again)


@pytest.mark.parametrize("content", ["[]", "{}", "3"])
def test_settings_that_are_not_as_a_run_writes_them_are_as_none(
    content, finished, genre_dataset, short_start, tmp_path
):
    """As of a run that was killed before it wrote them: the checkpoint itself is whole."""
    checkpoint = shutil.copytree(finished / "checkpoint-16", tmp_path / "run/checkpoint-16")
    (checkpoint / "resume_settings.json").write_text(content)
    words = ["--max_steps", "17", "--resume_from_checkpoint", "last"]
    run_training(short_start, genre_dataset, tmp_path / "run", *words)
    assert (tmp_path / "run/model.safetensors").is_file()
    assert training_record(str(checkpoint)) == {}
