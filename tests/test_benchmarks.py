"""The benchmarks in small: they run, they count right, and the documents hold what they found."""

import csv
import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import features, loading, probe, scaling, streaming, table
from benchmarks import run as runs
from benchmarks.growth import Growth, exponents
from benchmarks.made_dataset import make_dataset
from benchmarks.markdown import fill, read_results
from benchmarks.measure import in_turns, paired_ratio, summary, tokens_kept, training_flops
from benchmarks.one_training import Run, train
from benchmarks.real_datasets import FOLDS, esc10_fold
from benchmarks.run import full_steps, quick_steps
from benchmarks.targets import TARGETS, Target
from genreast import last_layer
from genreast.data.audiofolder import load_splits
from genreast.training.model import from_scratch

# Installed on no bare GPU machine.
ABSENT = ("datasets", "evaluate", "librosa", "scipy", "sklearn", "soundfile", "torchcodec")


@pytest.mark.parametrize(("document", "tables"), table.DOCUMENTS.items())
def test_a_documents_tables_are_the_results(document, tables):
    text, results = (ROOT / document).read_text(encoding="utf-8"), read_results()
    assert fill(text, tables, results) == text, "run python -m benchmarks.table"
    for name, render in tables.items():
        assert f"<!-- table:{name} -->" in text
        assert render(results) or name == "loading", "only that one waits for its machine"


def test_a_missing_result_leaves_its_table_out_and_says_nothing():
    for render in (*table.TABLES.values(), *scaling.TABLES.values()):
        assert render({}) == ""


def test_a_marker_without_a_table_is_refused():
    with pytest.raises(ValueError, match="no table is named 'speed'"):
        fill("<!-- table:speed -->\n<!-- /table -->", table.TABLES, {})


@pytest.mark.parametrize("pooled_alone", [False, True])
def test_operations_are_those_that_torch_counts(pooled_alone):
    model = from_scratch("tiny", attn_implementation="eager").eval()
    if pooled_alone:
        last_layer.use(model)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_values=torch.zeros(1, 1024, 128))
    counted = 3 * counter.get_total_flops()
    tokens = tokens_kept(model.config, 0)
    assert training_flops(model.config, tokens, pooled_alone) == pytest.approx(counted, rel=1e-3)


def test_ast_base_takes_the_operations_that_its_papers_size_implies():
    with torch.device("meta"):
        config = from_scratch("base").config
    assert tokens_kept(config, 0) == 1214
    assert training_flops(config, 1214) == pytest.approx(0.78e12, rel=0.01)
    assert training_flops(config, 1214, pooled_alone=True) == pytest.approx(0.72e12, rel=0.01)
    assert tokens_kept(config, 0.5) == 1212 / 2 + 2


def test_growth_finds_the_exponent_of_a_power_law():
    sizes = [50.0, 200.0, 800.0]
    assert Growth("", "", sizes, [3 * size**1.5 for size in sizes]).b == pytest.approx(1.5)


def test_growth_needs_three_sizes():
    two = {"features": {"growth": {"clips": [1, 2], "seconds": [1, 2]}}}
    assert exponents(two) == []


def test_ratios_are_paired_within_a_repetition():
    slow_then_fast = paired_ratio([2.0, 8.0, 6.0], [1.0, 2.0, 2.0])
    assert slow_then_fast == {"values": [2.0, 4.0, 3.0], "median": 3.0, "spread": [2.0, 4.0]}


def test_runs_take_turns():
    order = []
    values = in_turns(2, one=lambda: order.append("one") or 1.0, two=lambda: order.append("two"))
    assert order == ["one", "two", "one", "two"]
    assert values["one"] == [1.0, 1.0] and min(values["two"]) >= 0


def test_every_target_is_found_in_a_result_that_has_it():
    for target in TARGETS:
        found = target.value
        for key in reversed(target.path):
            found = {key: found}
        assert target.measured({target.result: found}) == target.value
        assert target.met(target.value)
        assert target.measured({}) is None


def test_a_missed_target_is_said_with_its_reason(monkeypatch):
    why = {"why_missed": "one core reaches {}×", "limit": ("limits", 0)}
    target = Target("one song", "prediction", ("ratio",), 3, **why)
    monkeypatch.setattr(table, "TARGETS", [target])
    missed, met = (
        table.targets({"prediction": {"ratio": ratio, "limits": [2.5]}}) for ratio in (2.0, 4.0)
    )
    assert "| one song | ≥ 3× | 2× | missed: one core reaches 2.5× |" in missed
    assert "| one song | ≥ 3× | 4× | met |" in met


def test_every_step_of_a_run_is_a_module():
    for name, *_ in full_steps() + quick_steps():
        assert (ROOT / "benchmarks" / f"{name}.py").is_file()


def test_what_a_run_does_not_measure_is_refused(monkeypatch, capsys):
    """A GPU's benchmarks are none of a machine without one: nothing was run, and that was well."""
    monkeypatch.setattr("benchmarks.run.gpu", list)
    monkeypatch.setattr("sys.argv", ["run", "--quick", "--only", "features", "gpu"])
    with pytest.raises(SystemExit):
        runs.main()
    assert "not measured here: gpu; expected features, prepare" in capsys.readouterr().err


def test_features_are_measured_beside_the_extractor():
    found = features.measure(clips=4, repetitions=1)
    assert found["largest_difference"] < 1e-4
    assert len(found["ways"]) >= 5
    rendered = table.features({"features": found})
    assert rendered.count("\n| ") == len(found["ways"]) + 2


def test_training_is_measured_both_ways(tmp_path):
    data = str(make_dataset(tmp_path / "data", clips=6, seconds=1.5))
    common = {"dataset": data, "steps": 2, "batch_size": 2, "window_seconds": 1.5}
    recipe, ours = train(Run("recipe", **common)), train(Run("ours", patchout=0.5, **common))
    for found in (recipe, ours):
        assert found["samples_per_second"] > 0 and found["share_of_the_matrix_rate"] > 0
    assert ours["tokens"] - 2 == (recipe["tokens"] - 2) / 2
    both = {"recipe": {**recipe}, "patchout 0.5": {**ours}}
    for found in both.values():
        found["times_the_recipe"] = summary([found["samples_per_second"]])
        found["samples_per_second"] = summary([found["samples_per_second"]])
    rendered = table.training({"training": {"sizes": {"tiny": both}}})
    assert rendered.count("\n| tiny |") == 2


def test_the_folds_keep_every_source_on_one_side(shared_audio, tmp_path):
    dataset = load_splits(esc10_fold(shared_audio, tmp_path / "fold", FOLDS[0]))
    groups = {name: set(split["group"]) for name, split in dataset.items()}
    assert not groups["train"] & groups["test"]
    with open(shared_audio / "ATTRIBUTION.csv", newline="", encoding="utf-8") as file:
        expected = [row for row in csv.DictReader(file) if row["fold"] == str(FOLDS[0])]
    assert len(dataset["test"]) == len(expected)


def test_the_gpu_benchmark_needs_torch_transformers_and_accelerate_alone():
    program = f"""
import json, sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
import torch
from benchmarks import gpu
print(json.dumps(gpu.measure(torch.device("cpu"), "tiny", quick=True)))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {row["patchout"] for row in found["settings"]} == {0, 0.3, 0.5}
    assert all(row["share_of_the_matrix_rate"] > 0 for row in found["settings"])
    assert found["recipe"]["samples_per_second"] > 0
    assert table.gpu({"gpu": found}).count("\n| ") == len(found["settings"]) + 3


def test_loading_is_measured_between_the_steps_and_beside_them(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "in_process", train)  # this one does as well
    data = str(make_dataset(tmp_path / "data", clips=4, seconds=1.5))
    found = {"batch_size": 2, "sizes": {"tiny": loading.measure(data, "tiny", quick=True)}}
    assert all(found["sizes"]["tiny"][way] > 0 for way in ("between_the_steps", "beside_them"))
    assert scaling.loading({"loading": found}).count("\n| tiny |") == 1


def test_a_probes_epochs_are_timed_apart(tmp_path):
    found = probe.measure("tiny", make_dataset(tmp_path / "data", clips=8, seconds=1.5), epochs=2)
    assert found["first_epoch_seconds"] > 0 and len(found["later_epoch_seconds"]["values"]) == 1
    assert "\n| tiny |" in table.probe({"probe": {"sizes": {"tiny": found}}})


def test_streaming_is_measured_by_buffer_and_by_how_genres_mix(tmp_path):
    size = streaming.make_shards(tmp_path / "data", 260)
    assert size / 260 > 150_000, "each clip is read, as where they differ"
    found = streaming.read(str(tmp_path), buffer=20)
    assert found["clips_per_second"] > 0 and len(found["gigabytes_above_the_start"]) == 4
    mixed = streaming.mixing(6000)
    by_genre, prepared, shuffled = sorted(mixed.values())
    assert mixed == {
        "songs sorted by genre": by_genre,
        "songs as prepared": prepared,
        "a full shuffle": shuffled,
    }
    result = {"streaming": {"buffers": {"20": found}, "genres": 15, "batch_size": 64}}
    result["streaming"]["genres_in_a_batch"] = mixed
    assert "| 20 clips |" in scaling.streaming(result)
    assert "| a full shuffle | 14.8 |" in scaling.mixing(result)
