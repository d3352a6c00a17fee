"""Every part of augmentation, and every setting of the loss, changes what a short run learns."""

import shutil
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import run_training
from safetensors.torch import load_file

from genreast.training.batches import collate
from genreast.training.recipe import TrainArguments

PLAIN = ["--mixup_alpha", "0", "--mask_time_frames", "0", "--mask_mel_bins", "0"]
PLAIN += ["--time_roll", "false", "--gain_db", "0", "--label_smoothing_factor", "0"]
SHORT = ["--max_steps", "2", "--eval_strategy", "no", "--save_strategy", "no"]
SHORT += ["--load_best_model_at_end", "false"]


@pytest.fixture(scope="module")
def trained(genre_dataset, short_start, tmp_path_factory):
    """The weights that two steps with some flags leave, all augmentation being off without them."""
    folder = tmp_path_factory.mktemp("augmented")

    def train(*flags: str, dataset: Path = genre_dataset) -> torch.Tensor:
        run_training(short_start, dataset, folder / "model", *PLAIN, *SHORT, *flags)
        weights = load_file(folder / "model" / "model.safetensors")
        shutil.rmtree(folder / "model")
        return torch.cat([each.flatten() for each in weights.values()])

    return train


@pytest.fixture(scope="module")
def plain(trained) -> torch.Tensor:
    return trained()


@pytest.mark.parametrize(
    "flags",
    [
        ["--time_roll", "true"],
        ["--gain_db", "6"],
        ["--mixup_alpha", "1", "--mixup_probability", "1"],
        ["--mask_time_frames", "96"],
        ["--mask_mel_bins", "48"],
        ["--patchout", "0.5"],
        ["--label_smoothing_factor", "0.1"],
    ],
    ids=lambda flags: flags[0],
)
def test_each_part_alone_changes_what_is_learned(flags, trained, plain):
    assert (trained(*flags) - plain).abs().max() > 1e-4


def test_a_compiled_model_leaves_other_patches_out_in_every_step(trained):
    flags = ["--patchout", "0.5", "--max_steps", "4"]
    compiled = ["--torch_compile", "true", "--torch_compile_backend", "eager"]
    torch.testing.assert_close(trained(*flags, *compiled), trained(*flags), atol=1e-6, rtol=0)


def test_a_clip_is_heard_beyond_its_beginning(trained, genre_dataset, tmp_path):
    """Were the first second alone heard, silence after it would change nothing."""
    silenced = shutil.copytree(genre_dataset, tmp_path / "silenced")
    for path in silenced.glob("train/*.flac"):
        sound, rate = soundfile.read(path)
        sound[rate:] = 0
        soundfile.write(path, sound, rate)
    window = ["--window_seconds", "1"]
    assert (trained(*window) - trained(*window, dataset=silenced)).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("loss", "setting", "one", "other"),
    [
        (["--class_weights", "effective"], "--effective_beta", "0.5", "0.999"),
        (["--loss", "focal"], "--focal_gamma", "0.5", "5"),
        (["--loss", "logit_adjusted"], "--logit_adjustment", "0.5", "3"),
    ],
    ids=lambda value: value if str(value).startswith("--") else "",
)
def test_each_setting_of_the_loss_reaches_it(loss, setting, one, other, trained):
    difference = trained(*loss, setting, one) - trained(*loss, setting, other)
    assert difference.abs().max() > 1e-4


def test_processes_steps_and_parts_of_a_step_draw_each_their_own(make_trainer, monkeypatch):
    def losses(process: int) -> list[float]:
        """Of one batch, three times over: twice in the first step, and in the second."""
        monkeypatch.setattr(TrainArguments, "process_index", property(lambda self: process))
        trainer = make_trainer()
        batch = collate([trainer.train_clips[index] for index in range(4)])
        found = []
        for step in (0, 0, 1):
            trainer.state.global_step = step
            found.append(trainer.compute_loss(trainer.model, batch).item())
        return found

    found = [*losses(0), *losses(1)]
    assert len(set(found)) == 6
    assert losses(0) == found[:3]
