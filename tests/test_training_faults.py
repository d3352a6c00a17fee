"""What goes wrong in training, made to happen: one message with the remedy, nothing lost."""

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml
from accelerate import PartialState
from conftest import ROOT, run_training
from datasets import Dataset
from torch.utils.data import get_worker_info

from genreast import errors
from genreast.data.audiofolder import load_splits
from genreast.errors import UserError, run
from genreast.training import batches
from genreast.training.faults import plain_faults
from genreast.training.recipe import TrainArguments
from genreast.training.run_folder import check_shared, output_folder
from genreast.training.trainer import GenreTrainer

OUT_OF_MEMORY = """
import resource, sys
from genreast.errors import run
import genreast.training.steps, torchcodec.decoders, train_hf

with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 600_000_000,) * 2)
run(train_hf.main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_batch_too_large_for_memory_says_what_to_change(genre_dataset, tmp_path):
    words = ["--dataset", str(genre_dataset), "--output_dir", str(tmp_path / "run")]
    words += ["--from_scratch", "small", "--window_seconds", "30", "--report_to", "none"]
    words += ["--bf16", "false", "--per_device_train_batch_size", "32"]
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_MEMORY, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert "does not fit in memory (32 clips, 16 in evaluation); halve --per_dev" in done.stderr


@pytest.mark.parametrize("beside", [[], ["--dataloader_num_workers", "1"]], ids=["here", "beside"])
def test_a_clip_that_cannot_be_read_is_named_in_one_line_by_whoever_decodes(
    beside, genre_dataset, short_start, tmp_path
):
    data = shutil.copytree(genre_dataset, tmp_path / "data")
    path = Path(load_splits(data)["validation"][1]["audio"]["path"])
    path.write_bytes(b"no sound")
    with pytest.raises(UserError) as caught:
        run_training(short_start, data, tmp_path / "model", *beside)
    said = str(caught.value)
    assert said.startswith(f"clip '{path.resolve()}' of the dataset cannot be read")
    assert said.endswith("; leave it out of the dataset (docs/collections.md shows how)")
    assert len(said.splitlines()) == 1


def test_a_decoding_process_that_was_killed_says_what_to_change(
    genre_dataset, short_start, tmp_path, monkeypatch
):
    """As the system does where memory, or a container's shared memory, has come to its end."""
    decode = batches.decode_clip

    def die_beside(*words):
        if get_worker_info():
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(*words)

    monkeypatch.setattr(batches, "decode_clip", die_beside)
    with pytest.raises(UserError, match=r"lower --dataloader_num_workers \(1\)"):
        run_training(short_start, genre_dataset, tmp_path, "--dataloader_num_workers", "1")


def test_two_runs_do_not_share_a_folder(genre_dataset, short_start, tmp_path):
    output = tmp_path / "run"
    with output_folder(TrainArguments(output_dir=str(output))):
        for _ in range(2):  # nor does a refused run take the hold away
            with pytest.raises(UserError, match="another run is writing to"):
                run_training(short_start, genre_dataset, output)
    assert not output.exists(), "nothing came of the run"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_where_only_the_last_words_find_no_room_no_model_is_called_cut_short(
    genre_dataset, short_start, tmp_path, monkeypatch
):
    """As where standard output goes to a disk that is full: there is nothing to go on with."""
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OSError, match="No space left on device"):
            run_training(short_start, genre_dataset, tmp_path / "run", "--max_steps", "1")
        monkeypatch.undo()
        with contextlib.suppress(OSError):  # what was not written is tried again
            full.close()
    assert (tmp_path / "run" / "train_metrics.json").is_file()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "training_config.yaml"])
def test_somebody_s_model_is_not_written_over(name, genre_dataset, short_start, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("mine")
    with pytest.raises(UserError, match="holds a model; choose another --output_dir"):
        run_training(short_start, genre_dataset, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [name]
    assert (tmp_path / "mine" / name).read_text() == "mine"


@pytest.fixture(scope="module")
def without_jazz(genre_dataset, tmp_path_factory) -> Path:
    """The dataset with a genre that train has no clip of."""
    folder = shutil.copytree(genre_dataset, tmp_path_factory.mktemp("data") / "without_jazz")
    table = folder / "train/metadata.parquet"
    rows = Dataset.from_parquet(str(table), cache_dir=str(folder / "cache"))
    kept = [row for row, label in enumerate(rows["label"]) if label != 1]
    rows.select(kept).to_parquet(table)
    return folder


def test_a_genre_missing_from_train_is_told_once_by_two_processes(
    without_jazz, short_start, tmp_path
):
    config = str(ROOT / "configs/accelerate/cpu_two_processes.yaml")
    launch = ["-m", "genreast.launch", "--config_file", config]
    words = ["--dataset", str(without_jazz), "--model_name_or_path", str(short_start)]
    done = subprocess.run(
        [sys.executable, *launch, "train_hf.py", *words, "--output_dir", str(tmp_path / "run")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.count("error: no clip of jazz in the train split") == 1


@pytest.mark.parametrize("process", [0, 1])
def test_whichever_process_is_gone_the_others_say_so_in_a_line(process, tmp_path):
    """One that the system kills, as where memory has come to its end, can say nothing itself."""
    args = SimpleNamespace(process_index=process, output_dir=str(tmp_path))
    words = "[gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer. This is typical"
    with pytest.raises(UserError, match="another process of this run"), plain_faults(args):
        raise RuntimeError(words)


def a_host(rank: int, port: int, folder: Path) -> str:
    """One of two hosts' only processes looks at its output folder; returns what it is told."""
    place = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", **{key: str(value) for key, value in place.items()}}
    PartialState._reset_state()
    state = PartialState(cpu=True)
    args = {"world_size": state.num_processes, "process_index": state.process_index}
    try:
        check_shared(SimpleNamespace(output_dir=str(folder), **args))
    except UserError as error:
        return str(error)
    finally:
        state.destroy_process_group()
    return ""


@pytest.mark.parametrize("shared", [True, False])
def test_hosts_that_do_not_share_the_output_folder_are_told_and_end_together(shared, tmp_path):
    folders = [tmp_path / "here", tmp_path / ("here" if shared else "there")]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as hosts:
        found = list(hosts.map(a_host, range(2), [port] * 2, folders, timeout=60))
    words = "must be one folder that all hosts share: 1 of 2 processes do not see"
    assert [words in told for told in found] == [not shared] * 2, found
    assert not any(path for folder in folders for path in folder.iterdir())


def test_what_another_process_alone_meets_is_told(monkeypatch, capsys):
    def main():
        raise UserError("clip 'x.flac' of the dataset cannot be read")

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(errors, "FIRST_SPEAKS_WITHIN", 0)
    with pytest.raises(SystemExit) as stop:
        run(main)
    assert stop.value.code == 2 and "error: clip 'x.flac'" in capsys.readouterr().err


def test_the_batch_that_was_found_to_fit_is_recorded(
    genre_dataset, short_start, tmp_path, monkeypatch
):
    step, heard = GenreTrainer.training_step, []

    def small(self, model, inputs, *words):
        if len(inputs["labels"]) > 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        heard.append(len(inputs["labels"]))
        return step(self, model, inputs, *words)

    monkeypatch.setattr(GenreTrainer, "training_step", small)
    flags = ["--auto_find_batch_size", "true", "--num_train_epochs", "1"]
    run_training(short_start, genre_dataset, tmp_path / "run", *flags)
    record = yaml.safe_load((tmp_path / "run/training_config.yaml").read_text())
    assert record["settings"]["per_device_train_batch_size"] == max(heard) <= 4
    saved = json.loads(next((tmp_path / "run").glob("checkpoint-*/resume*.json")).read_text())
    assert saved["--per_device_train_batch_size"] == max(heard)


def test_nothing_is_put_among_the_files_of_a_dataset(
    short_start, tiny_model, evaluate_model, tmp_path
):
    """The next to read the dataset would find no sound in it."""
    songs = tmp_path / "songs"
    for genre in ("rock", "jazz"):
        (songs / genre).mkdir(parents=True)
        for song in "ab":
            soundfile.write(songs / genre / f"{song}.wav", np.zeros(1600), 16_000)
    with pytest.raises(UserError, match=r"/songs/model' lies in the dataset '.*/songs', which"):
        run_training(short_start, songs, songs / "model")
    words = [tiny_model, "--dataset", songs, "--output_dir", songs / "evaluation"]
    status, _, told = evaluate_model(*words)
    assert status == 2 and "/songs/evaluation' lies in the dataset" in told
    assert {path.name for path in songs.iterdir()} == {"rock", "jazz"}


@pytest.mark.parametrize("flags", [[], ["--from_scratch", "tiny"]], ids=["start", "scratch"])
def test_clips_shorter_than_a_frame_are_trained_on(flags, genre_dataset, short_start, tmp_path):
    data = shutil.copytree(genre_dataset, tmp_path / "data")
    for path in data.glob("*/*.flac"):
        sound, rate = soundfile.read(path)
        soundfile.write(path, sound[:200], rate)
    run_training(short_start, data, tmp_path / "run", "--max_steps", "1", *flags)
    assert (tmp_path / "run/train_metrics.json").is_file()


@pytest.mark.parametrize(
    ("flags", "words", "kept"),
    [
        (["--save_steps", "1"], "the weights became nan at step 2", ["checkpoint-1"]),
        (["--save_strategy", "no", "--max_steps", "2"], r"numbers \(NaN\) by step 2", []),
        (["--save_steps", "2", "--eval_strategy", "steps", "--eval_steps", "2"], "by step 2", []),
    ],
    ids=["saving", "at the end", "evaluating"],
)
def test_a_model_that_has_diverged_is_neither_saved_nor_measured(
    flags, words, kept, genre_dataset, short_start, tmp_path, monkeypatch
):
    """The loss of a step says nothing of the weights that the step leaves."""
    step = GenreTrainer.training_step

    def diverge(self, model, *words):
        loss = step(self, model, *words)
        if self.state.global_step == 1:
            model.classifier.dense.bias.data[0] = float("nan")
        return loss

    monkeypatch.setattr(GenreTrainer, "training_step", diverge)
    output = tmp_path / "run"
    settings = ["--save_strategy", "steps", "--eval_strategy", "no"]
    settings += ["--load_best_model_at_end", "false", "--max_steps", "4", *flags]
    with pytest.raises(UserError, match=f"{words}; lower --learning_rate"):
        run_training(short_start, genre_dataset, output, *settings)
    assert [path.name for path in output.glob("checkpoint-*")] == kept
