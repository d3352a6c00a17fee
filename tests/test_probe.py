"""A linear probe: a frozen body hears each clip once, and the head learns what it would anyway."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import run_training
from safetensors.torch import load_file

from genreast.config import parse
from genreast.data.audiofolder import load_splits
from genreast.errors import UserError
from genreast.training import batches
from genreast.training.checkpoints import step_of
from genreast.training.probe import can_probe
from genreast.training.recipe import TrainArguments

PROBE = ["--freeze", "body", "--mixup_alpha", "0", "--mask_time_frames", "0"]
PROBE += ["--mask_mel_bins", "0", "--time_roll", "false", "--gain_db", "0"]


def test_a_probe_trains_what_a_frozen_body_does_without_it(
    genre_dataset, short_start, tmp_path, monkeypatch
):
    """Embeddings computed once give the weights of hearing every clip in every epoch."""
    flags = [*PROBE, "--num_train_epochs", "3", "--per_device_train_batch_size", "5"]
    beside = ["--dataloader_num_workers", "1", "--dataloader_persistent_workers", "true"]
    beside += ["--dataloader_prefetch_factor", "2"]
    run_training(short_start, genre_dataset, tmp_path / "probe", *flags, *beside)
    monkeypatch.setattr("genreast.training.steps.can_probe", lambda *_: False)
    run_training(short_start, genre_dataset, tmp_path / "plain", *flags)
    probe, plain = (load_file(tmp_path / name / "model.safetensors") for name in ("probe", "plain"))
    start = load_file(short_start / "model.safetensors")
    assert probe.keys() == plain.keys()
    for name, weights in plain.items():
        torch.testing.assert_close(probe[name], weights, atol=1e-4, rtol=0)
        if "audio_spectrogram_transformer" in name:
            assert torch.equal(weights, start[name])
    assert plain["classifier.dense.weight"].abs().max() > 0


@pytest.mark.parametrize(
    "flag",
    ["mixup_alpha", "mask_time_frames", "mask_mel_bins", "time_roll", "gain_db", "patchout"],
)
def test_what_is_augmented_in_any_way_is_heard_anew(flag, tmp_path):
    words = [*PROBE, "--output_dir", str(tmp_path)]
    assert can_probe(parse(TrainArguments, argv=words))
    value = {"time_roll": "true", "patchout": "0.5"}.get(flag, "1")
    assert not can_probe(parse(TrainArguments, argv=[*words, f"--{flag}", value]))


def with_lengths(dataset: Path, folder: Path, train: int, validation: int) -> Path:
    """The dataset with all clips of a split cut or repeated to so many samples."""
    shutil.copytree(dataset, folder)
    for split, samples in (("train", train), ("validation", validation)):
        for path in (folder / split).glob("*.flac"):
            sound, rate = soundfile.read(path)
            soundfile.write(path, np.resize(sound, samples), rate)
    return folder


@pytest.mark.parametrize(
    ("validation", "flags", "told"),
    [
        (16_501, [], None),
        (17_000, [], "a clip of 1.0625 s is longer than the window: every epoch hears the clips"),
        (16_501, ["--gain_db", "1"], None),
    ],
    ids=["probe", "longer", "augmented"],
)
def test_a_frozen_body_hears_once_what_it_can_or_says_why_not(
    validation, flags, told, genre_dataset, short_start, tmp_path, capfd
):
    """16,501 samples are no whole number of milliseconds."""
    data = with_lengths(genre_dataset, tmp_path / "data", 16_501, validation)
    words = [*PROBE, "--max_steps", "1", "--save_strategy", "steps", "--save_steps", "1"]
    words += ["--eval_strategy", "steps", "--eval_steps", "1"]
    run_training(short_start, data, tmp_path / "model", *words, *flags)
    said = capfd.readouterr().err
    assert ("hears the clips anew" in said) == bool(told)
    assert told is None or told in said
    head_alone = not told and not flags
    saved = tmp_path / "model/checkpoint-1/model.safetensors"
    assert (saved.stat().st_size < 5_000) == head_alone


def test_streamed_clips_are_heard_anew_and_it_is_said(sharded, short_start, tmp_path, capfd):
    run_training(
        short_start, sharded, tmp_path / "model", *PROBE, "--streaming", "true", "--max_steps", "1"
    )
    assert "streamed clips may be too many to keep" in capfd.readouterr().err


def test_a_rare_longer_clip_is_heard_anew_in_every_epoch(
    genre_dataset, short_start, tmp_path, monkeypatch, capfd
):
    """One clip is longer, and not among those whose length is looked at."""
    monkeypatch.setattr(batches, "SAMPLED", 16)  # every other one
    dataset = shutil.copytree(genre_dataset, tmp_path / "dataset")
    path = load_splits(dataset)["train"][1]["audio"]["path"]
    samples, rate = soundfile.read(path)
    soundfile.write(path, np.concatenate([samples, samples]), rate)
    run_training(short_start, dataset, tmp_path / "probe", *PROBE, "--num_train_epochs", "1")
    told = capfd.readouterr().err
    assert "a clip of 2 s is longer than the window: every epoch hears the clips anew" in told
    assert load_file(tmp_path / "probe" / "model.safetensors")


def test_a_probe_goes_on_from_its_checkpoint_and_is_averaged(
    genre_dataset, short_start, tmp_path, capfd
):
    flags = [*PROBE, "--num_train_epochs", "4", "--average_checkpoints", "3"]
    run_training(short_start, genre_dataset, tmp_path / "whole", *flags)
    assert "mean of the last 3 checkpoints" in capfd.readouterr().err
    last = max((tmp_path / "whole").glob("checkpoint-*"), key=step_of)
    assert (last / "model.safetensors").stat().st_size < 5_000, "the body was saved again"
    resume = ["--resume_from_checkpoint", str(tmp_path / "whole/checkpoint-8")]
    run_training(short_start, genre_dataset, tmp_path / "resumed", *flags, *resume)
    whole, resumed = (
        load_file(tmp_path / name / "model.safetensors") for name in ("whole", "resumed")
    )
    for name, weights in whole.items():
        torch.testing.assert_close(resumed[name], weights, atol=1e-6, rtol=0)
    with pytest.raises(UserError, match="freeze body, and no augmentation"):
        run_training(short_start, genre_dataset, tmp_path / "other", *resume)
