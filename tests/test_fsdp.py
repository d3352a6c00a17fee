"""A model sharded over two processes trains, saves and resumes as a whole one does."""

import subprocess
import sys

import torch
import yaml
from conftest import ROOT, run_training
from fsdp_on_cpu import FLAGS
from safetensors.torch import load_file


def test_a_sharded_model_gives_the_weights_of_a_whole_one(genre_dataset, short_start, tmp_path):
    config = yaml.safe_load((ROOT / "configs/accelerate/fsdp.yaml").read_text())
    config |= {"use_cpu": True, "num_processes": 2, "mixed_precision": "no"}
    (tmp_path / "fsdp.yaml").write_text(yaml.safe_dump(config))
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(tmp_path / "fsdp.yaml")]
    data = [str(short_start), str(genre_dataset)]
    done = subprocess.run(
        [sys.executable, *launch, "tests/fsdp_on_cpu.py", *data, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    checkpoint = tmp_path / "whole/checkpoint-8"
    assert (checkpoint / "pytorch_model_fsdp.bin").is_file(), "it was not sharded"
    run_training(*data, tmp_path / "one", *FLAGS)
    one, whole, resumed = (
        load_file(tmp_path / name / "model.safetensors") for name in ("one", "whole", "resumed")
    )
    for name, weights in one.items():
        torch.testing.assert_close(whole[name], weights, atol=1e-5, rtol=0)
        torch.testing.assert_close(resumed[name], weights, atol=1e-5, rtol=0)
