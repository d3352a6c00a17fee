"""A stopped run goes on from its last whole checkpoint; neither that nor the best is ever lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import FOUR_EPOCHS, refusal_to_resume, run_training
from safetensors.torch import load_file

from genreast.errors import UserError
from genreast.training.checkpoints import step_of
from genreast.training.recipe import TrainArguments
from genreast.training.run_folder import is_whole

ONE_CHECKPOINT = 118_436 + 262_219 + 40_000  # bytes: weights, optimizer, the rest


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


def test_whoever_may_read_a_run_may_read_its_weights(finished):
    for folder in (finished, *finished.glob("checkpoint-*")):
        modes = {path.stat().st_mode for path in folder.glob("*.*") if path.is_file()}
        assert len(modes) == 1, "safetensors makes files for their owner alone"


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "trainer_state.json", "optimizer.pt"]
)
def test_a_checkpoint_that_may_not_be_read_is_not_told_as_damaged(
    name, finished, genre_dataset, short_start, tmp_path, no_privileges
):
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    (run / "train_metrics.json").unlink()
    for checkpoint in run.glob("checkpoint-*"):
        (checkpoint / name).chmod(0)
    with pytest.raises(PermissionError, match=name):
        run_training(short_start, genre_dataset, run, "--resume_from_checkpoint", "last")


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


def test_a_checkpoint_that_its_user_has_copied_aside_stays(genre_dataset, short_start, tmp_path):
    mine = tmp_path / "checkpoint-4-mine"
    mine.mkdir()
    (mine / "model.safetensors").touch()
    os.utime(mine, (0, 0))  # older than any of the run's own
    run_training(short_start, genre_dataset, tmp_path, *FOUR_EPOCHS)
    assert (mine / "model.safetensors").exists()


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


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json"])
def test_a_best_checkpoint_of_which_a_part_is_gone_is_refused_before_training(
    lost, stopped, genre_dataset, short_start, make_trainer
):
    run, best = stopped
    (best / lost).unlink()
    words = refusal_to_resume("last", short_start, genre_dataset, run, *FOUR_EPOCHS)
    assert f"the best checkpoint, '{best}', is missing or cut short" in words
    trainer = make_trainer()
    trainer.state.best_model_checkpoint = str(best)
    with pytest.raises(UserError, match="put it back, or delete it to do without"):
        trainer._load_best_model()


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "optimizer.pt", "trainer_state.json"]
)
def test_a_checkpoint_with_a_file_cut_short_is_refused(
    name, finished, genre_dataset, short_start, tmp_path
):
    checkpoint = shutil.copytree(finished / "checkpoint-16", tmp_path / "checkpoint-16")
    os.truncate(checkpoint / name, (checkpoint / name).stat().st_size // 2)
    message = refusal_to_resume(checkpoint, short_start, genre_dataset, tmp_path / "run")
    assert "is missing or damaged" in message


@pytest.mark.parametrize("place", [0.0001, 0.3, 0.6, 0.9])
def test_an_optimizer_that_a_disk_has_changed_is_not_gone_on_from(
    place, finished, genre_dataset, short_start, tmp_path
):
    checkpoint = shutil.copytree(finished / "checkpoint-16", tmp_path / "checkpoint-16")
    path = checkpoint / "optimizer.pt"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    message = refusal_to_resume(checkpoint, short_start, genre_dataset, tmp_path / "run")
    assert "is missing or damaged" in message


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"global_step": null}'])
def test_a_checkpoint_whose_state_is_of_another_form_is_refused(
    content, finished, genre_dataset, short_start, tmp_path
):
    checkpoint = shutil.copytree(finished / "checkpoint-16", tmp_path / "checkpoint-16")
    (checkpoint / "trainer_state.json").write_text(content)
    message = refusal_to_resume(checkpoint, short_start, genre_dataset, tmp_path / "run")
    assert "is missing or damaged" in message


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
    with pytest.raises(UserError, match="is missing or damaged; no other is whole: start"):
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
