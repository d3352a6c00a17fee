"""Twenty common songs for one rare song, trained for real: each remedy finds more of the rare."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import run_training
from datasets import Dataset, Features, Value

from genreast.data.assembly import METADATA_FILE
from genreast.data.columns import clip_columns

REMEDIES = {
    "nothing": [],
    "sampling": ["--sampling_exponent", "1"],
    "inverse": ["--class_weights", "inverse"],
    "effective": ["--class_weights", "effective"],
    "focal": ["--loss", "focal", "--class_weights", "inverse"],
    "logit_adjusted": ["--loss", "logit_adjusted"],
}

PLAIN = ["--layer_decay", "1", "--per_device_train_batch_size", "16", "--mixup_alpha", "0"]
PLAIN += ["--mask_mel_bins", "0", "--mask_time_frames", "0", "--gain_db", "0"]
PLAIN += ["--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false"]


@pytest.fixture(scope="module")
def imbalanced(tmp_path_factory) -> Path:
    """120 common and 6 rare clips to train on, 24 of each to validate: tones in noise."""
    folder = tmp_path_factory.mktemp("imbalanced")
    generator = np.random.default_rng(0)
    features = Features({"file_name": Value("string"), **clip_columns(["common", "rare"])})
    for split, counts in {"train": (120, 6), "validation": (24, 24)}.items():
        rows = []
        for label, count in enumerate(counts):
            for song in range(count):
                time = np.arange(16_000) / 16_000
                pitch = (700, 1_400)[label] * generator.uniform(0.8, 1.25)
                sound = 0.1 * np.sin(2 * np.pi * pitch * time) + generator.normal(0, 0.05, 16_000)
                name = f"{label}_{song}.flac"
                (folder / split).mkdir(exist_ok=True)
                soundfile.write(folder / split / name, sound, 16_000)
                rows.append((name, label, f"{split}{name}", f"{split}{name}", 0.0))
        columns = dict(zip(features, map(list, zip(*rows, strict=True)), strict=True))
        Dataset.from_dict(columns, features=features).to_parquet(folder / split / METADATA_FILE)
    return folder


@pytest.fixture(scope="module")
def pretrained(genre_dataset, short_start, tmp_path_factory) -> Path:
    """A model that has learned to hear pitch, on other genres."""
    output = tmp_path_factory.mktemp("models") / "pretrained"
    epochs = ["--num_train_epochs", "30", "--learning_rate", "2e-3"]
    run_training(short_start, genre_dataset, output, *PLAIN, *epochs)
    return output


@pytest.mark.parametrize("kind", ["none", "inverse", "effective"])
@pytest.mark.parametrize(
    ("exponent", "count_by"), [(0, "clip"), (1, "clip"), (0, "song"), (0.5, "song")]
)
def test_the_loss_is_told_what_sampling_draws(make_trainer, exponent, count_by, kind):
    trainer = make_trainer(
        loss="logit_adjusted",
        class_weights=kind,
        sampling_exponent=exponent,
        count_by=count_by,
    )
    clips = trainer.train_clips
    drawn = np.bincount([clips.labels[clip] for clip in trainer._get_train_sampler()])
    weights = trainer.loss.weights.cpu().numpy()
    met = weights * drawn / len(clips)
    assert met.sum() == pytest.approx(1, abs=2 / len(clips))
    assert np.abs(trainer.loss.shares.cpu().numpy() - met).max() <= weights.max() / len(clips)
    if kind == "inverse":  # by which every genre already is met alike
        assert trainer.loss.shares.cpu().numpy() == pytest.approx(np.full(3, 1 / 3))


@pytest.fixture(scope="module")
def macro_f1(imbalanced, pretrained, tmp_path_factory) -> dict[str, float]:
    """Validation song macro-F1 after the same few epochs of a linear probe with each remedy."""
    scores = {}
    for name, flags in REMEDIES.items():
        output = tmp_path_factory.mktemp("models") / name
        epochs = ["--num_train_epochs", "20", "--learning_rate", "3e-4"]
        probe = ["--freeze", "body", "--time_roll", "false"]  # each clip is heard once
        run_training(pretrained, imbalanced, output, *PLAIN, *epochs, *probe, *flags)
        best = json.loads((output / "train_metrics.json").read_text())["best"]
        scores[name] = best["eval_song_macro_f1"]
    return scores


def test_without_a_remedy_the_rare_genre_is_seldom_named(macro_f1):
    assert macro_f1["nothing"] < 0.5  # F1 of one genre alone: at most 2/3 halved


@pytest.mark.parametrize("remedy", [name for name in REMEDIES if name != "nothing"])
def test_the_rare_genre_gains(macro_f1, remedy):
    assert macro_f1[remedy] > macro_f1["nothing"] + 0.2, macro_f1
