"""A stopped run goes on from its checkpoints, or says why it cannot; nothing of them is lost."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import run_training
from datasets import Dataset
from safetensors.torch import load_file

from genreast.errors import UserError
from genreast.recipe import TrainArguments
from genreast.run_folder import is_whole, step_of

FOUR_EPOCHS = ["--num_train_epochs", "4"]
ONE_CHECKPOINT = 118_436 + 262_219 + 40_000  # bytes: weights, optimizer, the rest


@pytest.fixture(scope="module")
def finished(tmp_path_factory, genre_dataset, short_start) -> Path:
    """A run with its checkpoints."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    run_training(short_start, genre_dataset, folder, *FOUR_EPOCHS)
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few hundred kilobytes, and how to make it larger."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> int:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        return subprocess.run(words, capture_output=True).returncode

    if sys.platform != "linux" or os.geteuid() or mount(f"size={2 * ONE_CHECKPOINT}"):
        pytest.skip("a small disk can be mounted by root on Linux alone")
    yield place, lambda size: mount(f"remount,size={size}")
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("checkpoints", [1.4, 2.1])  # ends within the optimizer, the weights
def test_a_full_disk_leaves_the_last_checkpoint_to_go_on_from(
    small_disk, checkpoints, finished, genre_dataset, short_start
):
    disk, resize = small_disk
    resize(round(checkpoints * ONE_CHECKPOINT))
    data, output = (short_start, genre_dataset), disk / "run"
    with pytest.raises(UserError, match="disk is full; make room, then go on"):
        run_training(*data, output, *FOUR_EPOCHS)
    resize("8m")
    run_training(*data, output, *FOUR_EPOCHS, "--resume_from_checkpoint", "last")
    expected, weights = (load_file(path / "model.safetensors") for path in (finished, output))
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("word", ["false", "no"])
def test_not_to_resume_is_not_to_start_over(word, finished, genre_dataset, short_start, tmp_path):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "train_metrics.json").unlink()
    before = sorted(run.rglob("*"))
    with pytest.raises(UserError, match="holds checkpoints of an unfinished run"):
        run_training(short_start, genre_dataset, run, "--resume_from_checkpoint", word)
    assert sorted(run.rglob("*")) == before


def test_the_last_checkpoints_are_kept_beside_the_best(finished, tmp_path):
    args = TrainArguments(output_dir=str(tmp_path), average_checkpoints=3)
    assert args.save_total_limit == 4


def test_a_best_checkpoint_that_is_gone_is_told(
    finished, genre_dataset, short_start, tmp_path, capfd
):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "train_metrics.json").unlink()
    last = max(run.glob("checkpoint-*"), key=step_of)
    state = json.loads((last / "trainer_state.json").read_text())
    state["best_model_checkpoint"] = str(tmp_path / "run" / "checkpoint-1")
    (last / "trainer_state.json").write_text(json.dumps(state))
    words = [*FOUR_EPOCHS, "--resume_from_checkpoint", "last"]
    run_training(short_start, genre_dataset, run, *words)
    assert "the best checkpoint so far, 'checkpoint-1'" in capfd.readouterr().err


@pytest.fixture
def stopped(finished, tmp_path):
    """A copy of the run as if it was stopped at its end, elsewhere, and the best checkpoint of it:
    another than the last."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "train_metrics.json").unlink()
    best, last = sorted(run.glob("checkpoint-*"), key=step_of)
    state = json.loads((last / "trainer_state.json").read_text())
    state |= {"best_model_checkpoint": f"elsewhere/{best.name}", "best_global_step": step_of(best)}
    (last / "trainer_state.json").write_text(json.dumps(state))
    return run, best


def test_the_best_checkpoint_is_found_where_the_run_lies_now(stopped, genre_dataset, short_start):
    run, best = stopped
    run_training(short_start, genre_dataset, run, *FOUR_EPOCHS, "--resume_from_checkpoint", "last")
    weights, expected = (load_file(place / "model.safetensors") for place in (run, best))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


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


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json"])
def test_a_best_checkpoint_of_which_a_part_is_gone_is_refused_before_training(
    lost, stopped, genre_dataset, short_start, make_trainer
):
    run, best = stopped
    (best / lost).unlink()
    words = resume("last", short_start, genre_dataset, run, *FOUR_EPOCHS)
    assert f"the best checkpoint, '{best}', is missing or cut short" in words
    trainer = make_trainer()
    trainer.state.best_model_checkpoint = str(best)
    with pytest.raises(UserError, match="put it back, or delete it to do without"):
        trainer._load_best_model()


def resume(checkpoint: Path, start: Path, dataset: Path, output: Path, *flags: str) -> str:
    """The message that refuses to go on from a checkpoint."""
    with pytest.raises(UserError) as caught:
        run_training(start, dataset, output, "--resume_from_checkpoint", str(checkpoint), *flags)
    return str(caught.value)


def test_a_checkpoint_of_other_genres_is_refused(finished, genre_dataset, short_start, tmp_path):
    other = shutil.copytree(genre_dataset, tmp_path / "data")
    for table in other.glob("*/metadata.parquet"):
        rows = Dataset.from_parquet(str(table), cache_dir=str(tmp_path / "cache"))
        names = {"rock": "polka", "jazz": "jazz", "disco": "disco"}
        labels = [names[rows.features["label"].int2str(label)] for label in rows["label"]]
        rows = rows.remove_columns("label").add_column("label", labels)
        rows.class_encode_column("label").to_parquet(table)
    message = resume(finished / "checkpoint-16", short_start, other, tmp_path / "run")
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
    assert words in resume(checkpoint, short_start, genre_dataset, tmp_path / "run", *flags)


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
    message = resume(checkpoint, short_start, data, tmp_path / "run", *flags, "--seed", "7")
    assert "held out to judge it (--seed 0, now 7)" in message
    again = ["--resume_from_checkpoint", str(checkpoint), "--max_steps", "2"]
    run_training(short_start, data, tmp_path / "run", *again)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "optimizer.pt", "trainer_state.json"]
)
def test_a_checkpoint_with_a_file_cut_short_is_refused(
    name, finished, genre_dataset, short_start, tmp_path
):
    checkpoint = shutil.copytree(finished / "checkpoint-16", tmp_path / "checkpoint-16")
    os.truncate(checkpoint / name, (checkpoint / name).stat().st_size // 2)
    message = resume(checkpoint, short_start, genre_dataset, tmp_path / "run")
    assert "is missing or cut short" in message


def unfinished(run: Path, target: Path) -> Path:
    """A run's folder as it was before the run ended, with its checkpoints."""
    shutil.copytree(run, target)
    (target / "train_metrics.json").unlink()
    return target


def without_optimizer(checkpoint: Path) -> None:
    """A checkpoint as --save_only_model leaves it."""
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (checkpoint / name).unlink()


LAST = ["--resume_from_checkpoint", "last"]


def test_checkpoints_of_weights_alone_are_no_place_to_go_on_from(
    genre_dataset, short_start, tmp_path
):
    flags = ["--num_train_epochs", "2", "--save_only_model", "true"]
    run_training(short_start, genre_dataset, tmp_path / "whole", *flags)
    run = unfinished(tmp_path / "whole", tmp_path / "run")
    before = sorted(run.rglob("*"))
    newest = max(run.glob("checkpoint-*"), key=step_of)
    for wanted in ("last", str(newest)):
        with pytest.raises(UserError) as caught:
            run_training(
                short_start, genre_dataset, run, *flags, "--resume_from_checkpoint", wanted
            )
        said = str(caught.value)
        assert f"'{newest}' holds no optimizer state (--save_only_model); start anew" in said
    assert sorted(run.rglob("*")) == before
    run_training(newest, genre_dataset, tmp_path / "anew", "--max_steps", "1")


def test_a_newer_checkpoint_of_weights_alone_is_passed_over_aloud(
    finished, genre_dataset, short_start, tmp_path, capsys
):
    run = unfinished(finished, tmp_path / "run")
    newest = max(run.glob("checkpoint-*"), key=step_of)
    without_optimizer(newest)
    run_training(short_start, genre_dataset, run, *FOUR_EPOCHS, *LAST)
    told = capsys.readouterr().err
    assert f"checkpoint '{newest}' is without optimizer state and passed over" in told


def test_checkpoints_that_were_finished_once_are_not_written_over(
    finished, genre_dataset, short_start, tmp_path
):
    run = unfinished(finished, tmp_path / "run")
    for path in run.glob("checkpoint-*/optimizer.pt"):
        os.truncate(path, path.stat().st_size // 2)
    before = sorted(run.rglob("*"))
    with pytest.raises(UserError, match="is missing or cut short; no other is whole: start"):
        run_training(short_start, genre_dataset, run, *FOUR_EPOCHS, *LAST)
    assert sorted(run.rglob("*")) == before


def test_neither_what_was_just_saved_nor_the_best_makes_room_for_a_later_one_cut_short(
    stopped, genre_dataset, short_start, monkeypatch
):
    """On a disk that tells no times the one of the highest step counts as the newest."""
    run, best = stopped
    last = max(run.glob("checkpoint-*"), key=step_of)
    for step in (97, 98, 99):
        (run / f"checkpoint-{step}").mkdir()
    monkeypatch.setattr("transformers.trainer_utils.os.path.getmtime", lambda path: 0.0)
    monkeypatch.chdir(run.parent)
    more = ["--num_train_epochs", "5", "--learning_rate", "0"]  # the best stays the best
    more += ["--resume_from_checkpoint", str(last.resolve())]
    run_training(short_start, genre_dataset, Path(run.name), *more)
    saved = step_of(last) + step_of(last) // 4
    kept = {f"checkpoint-{step}" for step in (saved, step_of(best))}
    assert kept <= {path.name for path in run.iterdir()}
    assert is_whole(run / f"checkpoint-{saved}")


def test_a_run_killed_in_its_first_checkpoint_starts_at_its_beginning(
    finished, genre_dataset, short_start, tmp_path, capsys
):
    run = tmp_path / "run"
    shutil.copytree(finished / "checkpoint-16", run / "checkpoint-4")
    (run / "checkpoint-4/trainer_state.json").unlink()
    run_training(short_start, genre_dataset, run, *FOUR_EPOCHS, *LAST)
    assert "no checkpoint was ever finished: training starts at its" in capsys.readouterr().err
    expected, weights = (load_file(path / "model.safetensors") for path in (finished, run))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
