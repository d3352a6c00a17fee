"""The same run in another shape gives the same weights and metrics, and hears the same clips."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from train_variants import VARIANTS, train_variants

CLIPS = 32  # of the train split


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory, genre_dataset, sharded, short_start) -> Path:
    """What `on_two_processes.py` left, and in `errors` what it said."""
    folder = tmp_path_factory.mktemp("two_processes")
    config = str(ROOT / "configs/accelerate/cpu_two_processes.yaml")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config]
    command += ["tests/on_two_processes.py", *map(str, (short_start, genre_dataset, sharded))]
    result = subprocess.run([*command, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    (folder / "errors").write_text(result.stderr)
    return folder


@pytest.fixture(scope="module")
def shapes(tmp_path_factory, genre_dataset, short_start, two_processes) -> dict[str, Path]:
    """Runs with one process × 10 clips, accumulation 2 × 5, and two processes × 5.

    An epoch of 32 clips ends in a step of two, of which the second process has none.
    """
    folder = tmp_path_factory.mktemp("shapes")
    data = [str(short_start), str(genre_dataset)]
    train_variants(*data, folder / "whole", 10, 1)
    train_variants(*data, folder / "accumulated", 5, 2)
    one = {name: folder / name for name in ("whole", "accumulated")}
    return {**one, "two": two_processes / "variants"}


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


def test_two_processes_stream_each_clip_once_an_epoch_and_go_on_so(two_processes):
    def heard(name: str) -> list[list[dict]]:
        """What each process heard, a line a batch."""
        files = [two_processes / f"{name}_notes" / f"{process}.jsonl" for process in (0, 1)]
        return [list(map(json.loads, file.read_text().splitlines())) for file in files]

    notes = heard("streamed")
    assert [len(lines) for lines in notes] == [8, 8]
    for epoch in (0, 1):
        lines = [line for part in notes for line in part[4 * epoch : 4 * epoch + 4]]
        assert sorted(row for line in lines for row in line["rows"]) == list(range(CLIPS))
    for ours, theirs in zip(*notes, strict=True):
        assert ours["step"] == theirs["step"]
        assert ours["items"] == theirs["items"] == len(ours["rows"]) + len(theirs["rows"])
    assert json.loads((two_processes / "streamed/train_metrics.json").read_text())["steps"] == 8
    errors = (two_processes / "errors").read_text()
    assert "32 clips of 16 songs to train on" in errors
    assert "steps       8, 10 clips each, 2 epochs" in errors
    assert heard("resumed") == [lines[4:] for lines in notes]
    assert "made with other settings" not in errors
