"""The same run in another shape gives the same weights and the same metrics."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from train_variants import VARIANTS, train_variants


@pytest.fixture(scope="session")
def shapes(tmp_path_factory, genre_dataset, short_start) -> dict[str, Path]:
    """Runs with one process × 10 clips, accumulation 2 × 5, and two processes × 5.

    An epoch of 32 clips ends in a step of two, of which the second process has none.
    """
    folder = tmp_path_factory.mktemp("shapes")
    data = [str(short_start), str(genre_dataset)]
    train_variants(*data, folder / "whole", 10, 1)
    train_variants(*data, folder / "accumulated", 5, 2)
    config = str(ROOT / "configs/accelerate/cpu_two_processes.yaml")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config]
    command = [*launch, str(ROOT / "tests/train_variants.py"), *data, str(folder / "two"), "5", "1"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return {name: folder / name for name in ("whole", "accumulated", "two")}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", ["accumulated", "two"])
def test_the_weights_do_not_depend_on_how_a_batch_is_dealt_out(shapes, shape, variant):
    expected = torch.load(shapes["whole"] / f"{variant}.pt", weights_only=True)
    trained = torch.load(shapes[shape] / f"{variant}.pt", weights_only=True)
    for name, weights in expected.items():
        torch.testing.assert_close(trained[name], weights, atol=1e-5, rtol=0, msg=name)


def test_training_moved_the_weights_and_the_variants_differ(shapes):
    heads = [
        torch.load(shapes["whole"] / f"{variant}.pt", weights_only=True)["classifier.dense.weight"]
        for variant in VARIANTS
    ]
    for one, other in itertools.pairwise(heads):
        assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_clip_counts_once_on_two_processes(shapes, variant):
    one, two = (
        json.loads((shapes[shape] / f"{variant}.json").read_text()) for shape in ("whole", "two")
    )
    scores = {key: value for key, value in one.items() if "clip_" in key or "song_" in key}
    assert len(scores) > 10
    for key, value in scores.items():
        assert two[key] == pytest.approx(value, abs=1e-4), key
