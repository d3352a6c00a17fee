"""Training data that this project did not prepare: other columns, labels as text, no validation."""

import io

import numpy as np
import pytest
import soundfile
from conftest import run_training
from datasets import Audio, Dataset, DatasetDict

from genreast.audiofolder import fingerprint, label_names, load_splits
from genreast.errors import UserError
from genreast.fine_tune import with_validation

COLUMNS = ("sound", "genre", "track")


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Parquet shards as the Hub serves them: 44.1 kHz stereo sound in the table, text labels."""
    folder = tmp_path_factory.mktemp("shards")
    generator = np.random.default_rng(0)
    rows = []
    for track in range(40):
        for _ in range(2):
            time = np.arange(44_100) / 44_100
            tone = np.sin(2 * np.pi * (200 if track % 4 else 2_000) * time)
            noise = generator.normal(0, 0.05, (44_100, 2))
            file = io.BytesIO()
            soundfile.write(file, tone[:, None] * 0.3 + noise, 44_100, format="FLAC")
            genre = "low" if track % 4 else "high"
            sound = {"bytes": file.getvalue(), "path": None}
            rows.append({"sound": sound, "genre": genre, "track": track})
    table = Dataset.from_list(rows).cast_column("sound", Audio())
    table.to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def test_other_columns_and_text_labels_are_taken(shards):
    splits = load_splits(shards, *COLUMNS)
    assert label_names(splits) == ["high", "low"]
    assert set(splits["train"].column_names) == {"audio", "label", "song_id", "group", "start"}
    assert len(set(splits["train"]["song_id"])) == 40


def test_a_wrong_column_is_named_with_what_there_is(shards):
    with pytest.raises(UserError, match="no column audio; it has sound, genre, track"):
        load_splits(shards)


def test_labels_are_the_same_in_every_split():
    from genreast.audiofolder import _with_class_labels

    splits = DatasetDict(
        train=Dataset.from_dict({"label": ["b", "c", "b"]}),
        test=Dataset.from_dict({"label": ["c", "a"]}),
    )
    encoded = _with_class_labels(splits)
    assert encoded["train"]["label"][:] == [1, 2, 1] and encoded["test"]["label"][:] == [2, 0]


def test_validation_is_held_out_by_song_and_genre(shards):
    splits = with_validation(load_splits(shards, *COLUMNS), seed=0)
    songs = {name: set(split["song_id"]) for name, split in splits.items()}
    assert not songs["train"] & songs["validation"]
    assert len(songs["train"] | songs["validation"]) == 40
    assert set(splits["validation"]["label"]) == {0, 1}


def test_the_fingerprint_is_of_the_content(shards, tmp_path):
    splits = load_splits(shards, *COLUMNS)
    fewer = DatasetDict(train=splits["train"].select(range(10)))
    assert fingerprint(splits) == fingerprint(load_splits(shards, *COLUMNS)) != fingerprint(fewer)


def test_training_runs_on_them(shards, short_start, tmp_path):
    names = ["--audio_column", "sound", "--label_column", "genre", "--song_column", "track"]
    run_training(short_start, shards, tmp_path / "model", "--num_train_epochs", "1", *names)
    assert (tmp_path / "model/train_metrics.json").is_file()
