"""What is published must score as it was measured, on the same clips."""

import csv
import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file, save_file
from trained_model import GENRES, make_model_dir
from transformers import ASTConfig

from genreast.errors import UserError
from genreast.inference import GenreClassifier
from genreast.model_window import window_samples
from genreast.publishing.score_check import CLIPS, TOLERANCES, check_scores, known_clips

METRICS = {"split": "test", "dataset": "nowhere"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return make_model_dir(tmp_path_factory.mktemp("models") / "first")


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory) -> Path:
    """Twelve clips of 2 s in the test split."""
    folder = tmp_path_factory.mktemp("processed")
    random = np.random.default_rng(0)
    seconds = np.arange(32_000) / 16_000
    (folder / "test" / "jazz [1]").mkdir(parents=True)
    for number in range(12):
        sound = 0.3 * np.sin(2 * np.pi * 150 * (number + 1) * seconds)
        sound += random.normal(0, 0.02, len(seconds))
        soundfile.write(folder / "test" / "jazz [1]" / f"{number}.flac", sound, 16_000)
    return folder


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory, trained, dataset_dir) -> Path:
    """predictions.csv as evaluate_model.py writes it."""
    folder = tmp_path_factory.mktemp("evaluation")
    classifier = GenreClassifier.from_pretrained(str(trained))
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "song_id", "label", *classifier.labels])
        for path in sorted((dataset_dir / "test" / "jazz [1]").iterdir()):
            probabilities = classifier(path).probabilities
            writer.writerow([path.name, path.stem, "jazz", *probabilities])
    return folder


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / "published"))


def test_the_evaluated_clips_are_found_and_agree(trained, evaluation, dataset_dir, folder):
    clips = known_clips(trained, evaluation, METRICS, dataset_dir)
    assert len(clips) == CLIPS == 8
    names = sorted(path.name for path in (dataset_dir / "test" / "jazz [1]").iterdir())
    spread = [names[row] for row in (0, 1, 3, 4, 6, 7, 9, 10)]
    assert [clip.name for clip in clips] == spread, "of the whole split, not its beginning"
    assert np.std([clip.scores["jazz"] for clip in clips]) > 2 * TOLERANCES["float32"], (
        "the clips must tell models apart"
    )
    check_scores(folder, clips)


@pytest.mark.parametrize(
    ("precision", "off", "refused"),
    [("float32", 0.02, True), ("bfloat16", 0.02, False), ("bfloat16", 0.05, True)],
)
def test_scores_measured_in_bfloat16_may_differ_by_what_it_rounds(
    trained, evaluation, dataset_dir, folder, precision, off, refused
):
    known = known_clips(trained, evaluation, METRICS | {"precision": precision}, dataset_dir)
    clips = [
        replace(clip, scores={label: score + off for label, score in clip.scores.items()})
        for clip in known
    ]
    refusal = pytest.raises(UserError, match="but it was measured with")
    with refusal if refused else nullcontext():
        check_scores(folder, clips)


def test_a_clip_that_the_pipeline_would_hear_in_part_is_not_compared(
    trained, evaluation, dataset_dir, tmp_path
):
    spoilt = Path(shutil.copytree(dataset_dir, tmp_path / "processed"))
    window = window_samples(ASTConfig.from_pretrained(trained))
    for name, samples in (("0.flac", window + 1), ("1.flac", window)):
        sound = np.random.default_rng(0).normal(0, 0.1, samples)
        soundfile.write(spoilt / "test" / "jazz [1]" / name, sound, 16_000)
    names = {clip.name for clip in known_clips(trained, evaluation, METRICS, spoilt)}
    assert len(names) == CLIPS - 1 and "0.flac" not in names and "1.flac" in names


def test_without_the_sound_a_made_one_is_heard(trained, evaluation, folder):
    for given in (evaluation, None):
        clips = known_clips(trained, given, METRICS, None)
        assert [clip.name for clip in clips] == ["a made sound"]
        check_scores(folder, clips)


def other_statistics(folder: Path) -> None:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mean": 0.0}))


def swapped_labels(folder: Path) -> None:
    path = folder / "config.json"
    names = dict(enumerate(reversed(GENRES)))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id2label": names}))


def other_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["classifier.dense.weight"] = weights["classifier.dense.weight"][::-1].copy()
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize("spoil", [other_statistics, swapped_labels, other_weights])
def test_a_model_that_is_not_the_measured_one_is_refused(
    trained, evaluation, dataset_dir, folder, spoil
):
    spoil(folder)
    with pytest.raises(UserError, match=r"pipeline\(\) gives .*but it was measured with"):
        check_scores(folder, known_clips(trained, evaluation, METRICS, dataset_dir))


def test_a_model_that_does_not_fit_its_features_is_told_so(evaluation, dataset_dir, folder):
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_length": 512}))
    with pytest.raises(UserError, match="does not fit its features: max_length 512"):
        known_clips(folder, evaluation, METRICS, dataset_dir)


def test_a_folder_that_does_not_load_is_refused(trained, folder):
    clips = known_clips(trained, None, {}, None)
    config = json.loads((folder / "config.json").read_text())
    for content in ({}, config | {"dtype": -1}):
        (folder / "config.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=r"pipeline\(\) cannot load what is to be published"):
            check_scores(folder, clips)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda table: table[: table.rindex(b"jazz,") + 5], "could not convert string to float"),
        (lambda table: table.replace(b"jazz,0.", b"jazz,0;"), "could not convert string to float"),
        (lambda table: table.replace(b"0.flac", b"\xe9.flac"), "can't decode byte 0xe9"),
    ],
)
def test_a_table_of_predictions_that_was_damaged_is_named(
    trained, evaluation, dataset_dir, tmp_path, damage, reason
):
    table = (evaluation / "predictions.csv").read_bytes()
    (tmp_path / "predictions.csv").write_bytes(damage(table))
    with pytest.raises(UserError, match=rf"predictions\.csv' is damaged or edited \(.*{reason}"):
        known_clips(trained, tmp_path, METRICS, dataset_dir)
