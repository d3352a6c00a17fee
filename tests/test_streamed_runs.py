"""Whole runs of training on Parquet shards: resumed, and over two processes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from conftest import ROOT
from safetensors.torch import load_file

from genreast.config import parse
from genreast.fine_tune import fine_tune
from genreast.recipe import TrainArguments

CLIPS = 32  # of the train split


def settings(start: Path, dataset: Path, output: Path, *flags: str) -> list[str]:
    words = ["--model_name_or_path", str(start), "--dataset", str(dataset)]
    words += ["--output_dir", str(output), "--bf16", "false", "--learning_rate", "1e-3"]
    words += ["--report_to", "none", "--streaming", "true", "--shuffle_buffer", "10"]
    return [*words, *flags]


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(sharded, short_start, tmp_path):
    flags = ["--max_steps", "30", "--per_device_train_batch_size", "2"]
    flags += ["--gradient_accumulation_steps", "2", "--sampling_exponent", "0.5"]
    flags += ["--eval_strategy", "no", "--load_best_model_at_end", "false"]
    flags += ["--save_strategy", "steps", "--save_steps", "10"]  # an epoch has eight steps
    flags += ["--dataloader_num_workers", "2"]

    def train(output: Path, *more: str) -> dict[str, torch.Tensor]:
        fine_tune(parse(TrainArguments, argv=settings(short_start, sharded, output, *flags, *more)))
        return load_file(output / "model.safetensors")

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    expected = train(whole, "--save_total_limit", "3")
    shutil.copytree(whole / "checkpoint-10", stopped / "checkpoint-10")
    weights = train(stopped, "--resume_from_checkpoint", "last")
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], atol=1e-6, rtol=0)


def test_two_processes_hear_each_clip_once_an_epoch_and_go_on_so(sharded, short_start, tmp_path):
    config = str(ROOT / "configs/accelerate/cpu_two_processes.yaml")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config]
    flags = ["--num_train_epochs", "2", "--per_device_train_batch_size", "5"]
    flags += ["--eval_strategy", "no", "--load_best_model_at_end", "false"]

    resume = ["--resume_from_checkpoint", str(tmp_path / "whole/checkpoint-4")]

    def words(name: str, *more: str) -> list[str]:
        (tmp_path / f"{name}_notes").mkdir()
        run = settings(short_start, sharded, tmp_path / name, *flags, *more)
        return [str(tmp_path / f"{name}_notes"), *run]

    def heard(name: str) -> list[list[dict]]:
        """What each process heard, a line a batch."""
        files = [tmp_path / f"{name}_notes" / f"{process}.jsonl" for process in (0, 1)]
        return [list(map(json.loads, file.read_text().splitlines())) for file in files]

    result = subprocess.run(
        [*launch, "tests/streamed_run.py", *words("whole"), "--", *words("resumed", *resume)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    notes = heard("whole")
    assert [len(lines) for lines in notes] == [8, 8]
    for epoch in (0, 1):
        lines = [line for part in notes for line in part[4 * epoch : 4 * epoch + 4]]
        assert sorted(row for line in lines for row in line["rows"]) == list(range(CLIPS))
    for ours, theirs in zip(*notes, strict=True):
        assert ours["step"] == theirs["step"]
        assert ours["items"] == theirs["items"] == len(ours["rows"]) + len(theirs["rows"])
    assert json.loads((tmp_path / "whole/train_metrics.json").read_text())["steps"] == 8
    assert "32 clips of 16 songs to train on" in result.stderr
    assert "steps       8, 10 clips each, 2 epochs" in result.stderr
    assert heard("resumed") == [lines[4:] for lines in notes]
    assert "made with other settings" not in result.stderr
