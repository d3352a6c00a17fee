"""`train_hf.py` as a user runs it: real processes, real files."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, run_training
from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification, pipeline

from genreast import attention
from genreast.audio import load_audio
from genreast.config import parse
from genreast.data.audiofolder import load_splits
from genreast.errors import UserError
from genreast.training.recipe import TrainArguments
from genreast.training.steps import fine_tune

TWO_EPOCHS = ["--num_train_epochs", "2"]
PROBE = ["--freeze", "body", "--mixup_alpha", "0", "--mask_time_frames", "0"]
PROBE += ["--mask_mel_bins", "0", "--time_roll", "false", "--gain_db", "0"]
FAST = ["--bf16", "false", "--learning_rate", "1e-3", "--report_to", "none"]


def command(start: Path, dataset: Path, output: Path, *flags: str) -> list[str]:
    base = [sys.executable, str(ROOT / "train_hf.py"), "--model_name_or_path", str(start)]
    return [*base, "--dataset", str(dataset), "--output_dir", str(output), *FAST, *flags]


def run(*words, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(*words, capture_output=True, text=True, env=environment, **options)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, genre_dataset, short_start) -> Path:
    """A model folder that two epochs of the real script left."""
    folder = tmp_path_factory.mktemp("models") / "trained"
    result = run(command(short_start, genre_dataset, folder, *TWO_EPOCHS))
    assert result.returncode == 0, result.stderr[-3000:]
    assert f"python evaluate_model.py {folder}" in result.stdout
    assert "new head for 3 genres" in result.stderr
    return folder


def test_the_folder_is_a_plain_hub_model_with_what_made_it(trained):
    files = {path.name for path in trained.iterdir() if path.is_file()}
    assert files == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "training_config.yaml",
        "train_metrics.json",
        "learning_curves.png",
    }
    config = json.loads((trained / "config.json").read_text())
    assert config["id2label"] == {"0": "rock", "1": "jazz", "2": "disco"}
    assert config["clip_seconds"] == 1.5
    recorded = yaml.safe_load((trained / "training_config.yaml").read_text())
    assert recorded["settings"]["learning_rate"] == 1e-3
    assert recorded["dataset"]["on_hub"] is False
    assert recorded["dataset"]["splits"]["train"]["songs"] == {"rock": 7, "jazz": 5, "disco": 4}
    assert str(Path.home()) not in (trained / "training_config.yaml").read_text()
    history = json.loads((trained / "train_metrics.json").read_text())["history"]
    assert [entry["epoch"] for entry in history] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("length", "batch", "words"),
    [
        (["--num_train_epochs", "2"], 3, "12 clips each, 2 epochs\n"),
        (["--max_steps", "3"], 3, "12 clips each\n"),
        (["--max_steps", "1"], 16, "32 clips each\n"),  # all there are
    ],
)
def test_the_steps_told_are_those_run(
    short_start, genre_dataset, tmp_path, capsys, length, batch, words
):
    flags = ["--per_device_train_batch_size", str(batch), "--gradient_accumulation_steps", "4"]
    run_training(short_start, genre_dataset, tmp_path / "model", *flags, *length)
    told = re.search(r"steps +(\d+), (.*\n)", capsys.readouterr().err)
    last = max(int(path.name.split("-")[1]) for path in tmp_path.glob("model/checkpoint-*"))
    assert (int(told[1]), told[2]) == (last, words)


def test_an_epochs_loss_is_its_own_however_often_it_is_logged(
    short_start, genre_dataset, tmp_path, capsys
):
    """Four steps an epoch; and without a bar the table is there all the same."""
    tables = []
    for often in ("1", "3", "1000"):
        flags = [*TWO_EPOCHS, "--logging_steps", often, "--disable_tqdm", "true"]
        run_training(short_start, genre_dataset, tmp_path / often, *flags)
        told = capsys.readouterr().err
        assert "step/s" not in told and "0%" not in told
        tables.append(re.findall(r"^ +([12]) +(\d\.\d{3}) ", told, re.MULTILINE))
    assert [epoch for epoch, _ in tables[0]] == ["1", "2"] and len(set(tables[0])) == 2
    for table in tables[1:]:
        for (_, loss), (_, expected) in zip(table, tables[0], strict=True):
            assert float(loss) == pytest.approx(float(expected), abs=0.0011)


def test_bfloat16_on_a_cpu_attends_by_plain_products_and_no_file_says_so(
    short_start, genre_dataset, tmp_path, monkeypatch, capsys
):
    ours, calls = attention.heads_in_turn, []
    monkeypatch.setattr(
        attention, "heads_in_turn", lambda *words, **named: calls.append(1) or ours(*words, **named)
    )
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    words = command(short_start, genre_dataset, tmp_path / "out", "--bf16", "true")[2:]
    fine_tune(parse(TrainArguments, argv=[*words, "--max_steps", "2"]))
    assert calls and "this CPU only imitates bfloat16" in capsys.readouterr().err
    assert attention.NAME not in (tmp_path / "out" / "config.json").read_text()


@pytest.mark.parametrize("probe", [False, True])
def test_dropping_the_last_batch_drops_no_clip_of_validation(
    probe, short_start, genre_dataset, tmp_path
):
    """14 clips in batches of 4, or of 16: with nothing learned, both say the same."""
    flags = ["--learning_rate", "0", "--max_steps", "1", *(PROBE if probe else [])]
    found = []
    for name, batch, drop in (("kept", "4", "false"), ("four", "4", "true"), ("all", "16", "true")):
        sizes = ["--per_device_eval_batch_size", batch, "--dataloader_drop_last", drop]
        run_training(short_start, genre_dataset, tmp_path / name, *flags, *sizes)
        best = json.loads((tmp_path / name / "train_metrics.json").read_text())["best"]
        found.append({key: best[key] for key in ("eval_loss", "eval_clip_accuracy")})
    assert found[1] == pytest.approx(found[0]) and found[2] == pytest.approx(found[0])


def test_the_best_epoch_is_published(trained):
    metrics = json.loads((trained / "train_metrics.json").read_text())
    best = max(metrics["history"], key=lambda entry: entry["eval_song_macro_f1"])
    # The loss too: the Trainer's own loading leaves AST's layers as they were last.
    for key in ("eval_song_macro_f1", "eval_loss"):
        assert metrics["best"][key] == pytest.approx(best[key], abs=1e-6)


def test_pipeline_and_automodel_hear_what_evaluation_heard(trained, genre_dataset):
    rows = load_splits(genre_dataset)["validation"]
    classifier = pipeline("audio-classification", model=str(trained), top_k=None)
    model = AutoModelForAudioClassification.from_pretrained(trained)
    right, losses = 0, []
    for row in rows:
        waveform = load_audio(row["audio"]["path"])
        scores = {one["label"]: one["score"] for one in classifier(waveform)}
        features = classifier.feature_extractor(waveform, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            probabilities = model(**features).logits.softmax(-1)[0].numpy()
        named = [scores[model.config.id2label[index]] for index in range(3)]
        np.testing.assert_allclose(named, probabilities, atol=1e-5)
        right += int(probabilities.argmax() == row["label"])
        losses.append(-np.log(probabilities[row["label"]]))
    best = json.loads((trained / "train_metrics.json").read_text())["best"]
    assert best["eval_clip_accuracy"] == pytest.approx(right / len(rows))
    assert best["eval_loss"] == pytest.approx(np.mean(losses), abs=1e-4)


def test_the_same_seed_gives_the_same_model_whoever_decodes(
    trained, genre_dataset, short_start, tmp_path
):
    again, beside = tmp_path / "again", ["--dataloader_num_workers", "2"]
    run_training(short_start, genre_dataset, again, *TWO_EPOCHS, *beside)
    first, second = (load_file(path / "model.safetensors") for path in (trained, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_killed_run_resumes_to_the_weights_of_an_unbroken_one(
    genre_dataset, short_start, tmp_path, capsys
):
    flags = ["--max_steps", "40", "--eval_strategy", "steps", "--eval_steps", "5"]
    flags += ["--save_strategy", "steps", "--save_steps", "5"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    victim = subprocess.Popen(
        command(short_start, genre_dataset, broken, *flags),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (broken / "checkpoint-10" / "trainer_state.json").exists():
        assert victim.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(np.random.default_rng().uniform(0, 0.5))
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not (broken / "train_metrics.json").exists(), "it ended before the kill"

    with pytest.raises(UserError, match="--resume_from_checkpoint last"):
        run_training(short_start, genre_dataset, broken, *flags)
    # A checkpoint cut short by the kill is passed over.
    (broken / "checkpoint-39").mkdir()
    run_training(short_start, genre_dataset, broken, *flags, "--resume_from_checkpoint", "last")
    assert "checkpoint-39' is damaged" in capsys.readouterr().err
    run_training(short_start, genre_dataset, whole, *flags)
    expected, weights = (load_file(path / "model.safetensors") for path in (whole, broken))
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], atol=1e-6, rtol=0)


def test_without_a_launcher_one_gpu_of_several_is_used(
    short_start, genre_dataset, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["train_hf.py", "--dataset", "my songs"])
    words = command(short_start, genre_dataset, tmp_path / "model", "--max_steps", "1")[2:]
    args = parse(TrainArguments, argv=words)
    args._n_gpu = 2
    fine_tune(args)
    assert (tmp_path / "model/train_metrics.json").is_file()
    errors = capsys.readouterr().err
    assert "one of 2 GPUs is used; all of them: python -m genreast.launch --config_file" in errors
    assert "--num_processes 2 train_hf.py --dataset 'my songs'\n" in errors


def test_a_finished_model_is_not_overwritten(trained, genre_dataset, short_start):
    words = command(short_start, genre_dataset, trained)[2:]
    with pytest.raises(UserError, match="holds a finished model"):
        fine_tune(parse(TrainArguments, argv=words))
