"""Training data that this project did not prepare: other columns, labels as text, no validation."""

import csv
import io
import json
import re
import resource
import shutil
import tarfile

import datasets
import numpy as np
import pytest
import soundfile
from conftest import run_training, sounds
from datasets import Audio, Dataset, DatasetDict
from song_library import make_library, prepare

from genreast.config import parse
from genreast.data.audiofolder import METADATA_FILE, dataset_fingerprint, is_foreign, load_splits
from genreast.data.columns import label_names
from genreast.data.given_splits import called_here
from genreast.errors import UserError
from genreast.training.held_out import as_trained, training_record, with_validation
from genreast.training.recipe import TrainArguments
from genreast.training.shards import read_shards
from genreast.training.start import seed_of_validation
from genreast.training.steps import read_dataset

COLUMNS = ("sound", "genre", "track")
FLAGS = [
    word
    for kind, name in zip(("audio", "label", "song"), COLUMNS, strict=True)
    for word in (f"--{kind}_column", name)
]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Parquet shards as the Hub serves them: 44.1 kHz stereo sound in the table, text labels."""
    folder = tmp_path_factory.mktemp("shards")
    generator = np.random.default_rng(0)
    rows = []
    for track in range(48):
        for _ in range(2):
            time = np.arange(44_100) / 44_100
            tone = np.sin(2 * np.pi * (200 if track % 4 else 2_000) * time)
            noise = generator.normal(0, 0.05, (44_100, 2))
            file = io.BytesIO()
            soundfile.write(file, tone[:, None] * 0.3 + noise, 44_100, format="FLAC")
            genre = "low" if track % 4 else "high"
            sound = {"bytes": file.getvalue(), "path": None}
            rows.append({"sound": sound, "genre": genre, "track": track})
    for split, part in {"train": rows[:80], "test": rows[80:]}.items():
        table = Dataset.from_list(part).cast_column("sound", Audio())
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture(scope="module")
def model(shards, short_start, tmp_path_factory):
    """A model trained on the shards, a tenth of which was held out to validate."""
    folder = tmp_path_factory.mktemp("models") / "model"
    run_training(short_start, shards, folder, "--num_train_epochs", "1", *FLAGS)
    return folder


def test_columns_are_taken_by_the_names_given_or_not_at_all(shards, tmp_path):
    with pytest.raises(UserError, match="no column artist"):
        load_splits(shards, "sound", "genre", "artist")
    with pytest.raises(UserError, match="one column twice"):
        load_splits(shards, "sound", "genre", "genre")
    raw = make_library(tmp_path / "raw", {"jazz": 3, "rock": 3}, seconds=(1, 2))
    prepare(raw, "--output_dir", tmp_path / "data")
    with pytest.raises(UserError, match="no column mood; it has audio, label, song_id, group"):
        load_splits(tmp_path / "data", label_column="mood")
    grouped = load_splits(tmp_path / "data", song_column="group")["train"]
    assert grouped["song_id"] == load_splits(tmp_path / "data")["train"]["group"]


def test_other_columns_and_text_labels_are_taken(shards):
    splits = load_splits(shards, *COLUMNS)
    assert label_names(splits) == ["high", "low"]
    assert set(splits["train"].column_names) == {"audio", "label", "song_id", "group", "start"}
    assert len(set(splits["train"]["song_id"])) == 40


def test_a_wrong_column_is_named_with_what_there_is(shards):
    with pytest.raises(UserError, match="no column audio; it has sound, genre, track"):
        load_splits(shards)


def test_a_folder_of_one_genre_is_told_what_is_missing(tree):
    with pytest.raises(UserError, match="tells no genres apart; expected one folder of sounds a"):
        load_splits(tree("jazz/a.wav", "jazz/b.wav"))


def test_shards_may_lie_in_a_folder_for_each_split(tmp_path):
    for split, labels in {"train": ["blues", "rock"], "test": ["rock"]}.items():
        sounds(labels).to_parquet(tmp_path / split / "0000.parquet")
    splits = load_splits(tmp_path)
    assert {name: len(split) for name, split in splits.items()} == {"train": 2, "test": 1}
    assert not is_foreign(str(tmp_path))


@pytest.mark.parametrize("load", [load_splits, read_shards], ids=["whole", "streamed"])
def test_splits_of_other_names_are_known(load, tmp_path):
    """Else a tenth of train was held out beside a validation split named valid."""
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    for split in ("train", "dev", "eval", "extra"):
        sounds(["blues", "rock"]).to_parquet(tmp_path / f"{split}.parquet")
        card += f"  - split: {split}\n    path: {split}.parquet\n"
    (tmp_path / "README.md").write_text(f"{card}---\n")
    found = load(str(tmp_path), "audio", "label", "song_id")
    for part in found if isinstance(found, tuple) else [found]:
        assert list(part) == ["train", "validation", "test", "extra"]


def test_of_two_splits_that_would_have_one_name_each_keeps_its_own():
    names = ["Train", "valid", "validation", "test"]
    assert [*called_here(names).values()] == ["train", *names[1:]]


@pytest.mark.parametrize("whole", [True, False], ids=["all", "one split"])
def test_a_dataset_that_datasets_saved_is_read(shards, tmp_path, whole):
    expected = load_splits(shards, *COLUMNS)
    splits = datasets.load_dataset(str(shards), cache_dir=tmp_path / "cache")
    (splits if whole else splits["train"]).save_to_disk(tmp_path / "saved")
    found = load_splits(tmp_path / "saved", *COLUMNS)
    assert list(found) == (["train", "test"] if whole else ["train"])
    assert not is_foreign(str(tmp_path / "saved")), "whose sounds could be prepared"
    assert found["train"]["audio"][:] == expected["train"]["audio"][:]
    assert label_names(found) == ["high", "low"] and found["train"]["song_id"][3] == "1"


def test_tars_as_webdataset_packs_them_are_read(song_files, tmp_path):
    with tarfile.open(tmp_path / "train-000.tar", "w") as tar:
        for number, genre in enumerate(["blues", "rock", "rock"]):
            for suffix, content in {"wav": song_files["short"].read_bytes(), "txt": genre}.items():
                content = content.encode() if suffix == "txt" else content
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    train = load_splits(tmp_path, "wav", "txt", "__key__")["train"]
    assert train.features["label"].names == ["blues", "rock"]
    assert train["song_id"][:] == ["0", "1", "2"]
    assert train[0]["audio"]["bytes"] == song_files["short"].read_bytes()


@pytest.mark.parametrize(("cache", "words"), [("full", "too large"), ("file/in", "Not a dir")])
def test_a_cache_that_cannot_be_written_is_no_fault_of_the_dataset(
    cache, words, sharded, tmp_path, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / cache)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # bytes a file
    try:
        with pytest.raises(UserError, match=f"cannot be written .*{words}.*make room"):
            load_splits(sharded)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_of_a_broken_shard_it_is_said_what_is_broken(streaming, sharded, tmp_path):
    shutil.copytree(sharded / "data", tmp_path / "data")
    shard = next((tmp_path / "data").glob("validation-00000-*"))
    content = bytearray(shard.read_bytes())
    content[4:200] = b"\xff" * 196  # the head of the first clips' sound
    shard.write_bytes(content)
    words = ["--dataset", str(tmp_path), "--streaming", streaming]
    with pytest.raises(UserError, match=r"is not a dataset \(Couldn't deserialize"):
        read_dataset(parse(TrainArguments, argv=words))


def test_a_bracket_in_the_path_of_shards_is_told(sharded, tmp_path):
    folder = tmp_path / "songs [live]"
    folder.symlink_to(sharded)
    copied = shutil.copytree(sharded, tmp_path / "songs [2024]")
    assert load_splits(folder), "where a link leads counts"
    with pytest.raises(UserError, match=r"has a \[ in its path.*rename the folder"):
        load_splits(copied)


@pytest.mark.parametrize("load", [load_splits, read_shards], ids=["whole", "streamed"])
def test_a_dataset_that_comes_with_a_script_is_told_of(load, own_hub):
    script = {"path_or_fileobj": b"import datasets", "path_in_repo": "songs.py"}
    own_hub.upload_file(repo_id="alice/songs", repo_type="dataset", **script)
    with pytest.raises(UserError, match=r"a script, .* such as 'alice/songs@refs/convert/parquet'"):
        load("alice/songs", *COLUMNS)


@pytest.mark.parametrize("load", [load_splits, read_shards], ids=["whole", "streamed"])
def test_one_of_several_configurations_is_chosen_by_name(load, tmp_path):
    for config, labels in {"few": ["blues"], "many": ["blues", "rock", "rock"]}.items():
        sounds(labels).to_parquet(tmp_path / config / "clips.parquet")
    cards = ["- config_name: few\n  data_files: few/*", "- config_name: many\n  data_files: many/*"]
    (tmp_path / "README.md").write_text("---\nconfigs:\n" + "\n".join(cards) + "\n---\n")
    for config in (None, "all"):
        with pytest.raises(UserError, match="choose one with --dataset_config: few, many"):
            load(str(tmp_path), "audio", "label", "song_id", config)
    found = load(str(tmp_path), "audio", "label", "song_id", "many")
    splits = found[0] if isinstance(found, tuple) else found
    assert len(splits["train"]) == 3


def test_a_table_that_may_not_be_read_is_named(genre_dataset, tmp_path, no_privileges):
    """`errors.run` tells an error that names its file in a line; another one is a traceback."""
    folder = shutil.copytree(genre_dataset, tmp_path / "dataset")
    path = folder / "train" / METADATA_FILE
    path.chmod(0)
    with pytest.raises(PermissionError) as told:
        load_splits(folder)
    assert told.value.filename == str(path)


def test_validation_is_held_out_by_song_and_genre(shards):
    splits = with_validation(load_splits(shards, *COLUMNS), seed=0)
    songs = {name: set(split["song_id"]) for name, split in splits.items()}
    assert not songs["train"] & songs["validation"]
    assert len(songs["train"] | songs["validation"]) == 40
    assert set(splits["validation"]["label"]) == {0, 1}


def test_the_fingerprint_is_of_the_content(shards, tmp_path):
    splits = load_splits(shards, *COLUMNS)
    fewer = DatasetDict(train=splits["train"].select(range(10)))
    assert (
        dataset_fingerprint(splits)
        == dataset_fingerprint(load_splits(shards, *COLUMNS))
        != dataset_fingerprint(fewer)
    )


def test_evaluation_hears_the_clips_that_training_validated_on(
    model, shards, evaluate_model, tmp_path
):
    words = ["--dataset", shards, "--split", "validation", "--output_dir", tmp_path / "out"]
    status, _, errors = evaluate_model(model, *words, *FLAGS)
    assert status == 0, errors
    with (tmp_path / "out/predictions.csv").open(newline="") as file:
        songs = [row["song_id"] for row in csv.DictReader(file)]
    held_out = with_validation(load_splits(shards, *COLUMNS), seed=0)["validation"]
    assert songs == held_out["song_id"][:]
    trained = json.loads((model / "train_metrics.json").read_text())["best"]
    measured = json.loads((tmp_path / "out/metrics.json").read_text())
    assert measured["song"]["macro_f1"] == pytest.approx(trained["eval_song_macro_f1"])
    assert measured["clip"]["log_loss"] == pytest.approx(trained["eval_loss"], abs=1e-4)


def test_a_checkpoint_tells_what_its_run_held_out(model, shards, tmp_path):
    splits = load_splits(shards, *COLUMNS)
    held_out = with_validation(splits, seed=0)["validation"]
    checkpoint = next(model.glob("checkpoint-*"))
    found = as_trained(splits, training_record(str(checkpoint)))["validation"]
    assert found["song_id"][:] == held_out["song_id"][:]
    (tmp_path / "resume_settings.json").write_text("{")  # as a run that was killed leaves it
    (tmp_path / "somebody_s").mkdir()
    (tmp_path / "somebody_s" / "training_config.yaml").write_text("dataset: gtzan")
    for folder in (tmp_path, tmp_path / "somebody_s"):
        assert training_record(str(folder)) == {}


def test_going_on_from_a_model_it_is_judged_by_what_it_held_out(model, shards, tmp_path, capsys):
    """By another seed, and by what goes on from that in turn."""
    splits, start = load_splits(shards, *COLUMNS), model
    held_out = with_validation(splits, seed=0)["validation"]["song_id"][:]
    for seed in ("7", "9"):
        flags = [*FLAGS, "--max_steps", "1", "--seed", seed, "--save_strategy", "steps"]
        flags += ["--eval_strategy", "steps", "--eval_steps", "1", "--save_steps", "1"]
        run_training(start, shards, tmp_path / seed, *flags)
        assert f"'{start}' was trained on the same clips: those that" in capsys.readouterr().err
        start = tmp_path / seed / "checkpoint-1"
        for folder in (start.parent, start):
            found = as_trained(splits, training_record(str(folder)))["validation"]
            assert found["song_id"][:] == held_out
    other = DatasetDict(train=splits["train"].select(range(60)))
    args = TrainArguments(output_dir=str(tmp_path), model_name_or_path=str(start), seed=3)
    assert seed_of_validation(args, other) == 3 and not capsys.readouterr().err


def test_the_temperature_is_fitted_on_the_clips_held_out(model, shards, evaluate_model, tmp_path):
    words = ["--dataset", shards, "--output_dir", tmp_path / "out"]
    status, _, errors = evaluate_model(model, *words, *FLAGS)
    assert status == 0, errors
    assert json.loads((tmp_path / "out/metrics.json").read_text())["calibration"] is not None


def test_where_no_songs_are_named_clips_are_told_of_and_no_songs(
    model, shards, evaluate_model, tmp_path
):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    clips = Dataset.from_parquet(str(shards / "test-00000-of-00001.parquet"))
    clips.remove_columns("track").to_parquet(data / "test-00000-of-00001.parquet")
    words = ["--dataset", data, "--output_dir", out, *FLAGS[:4]]
    status, printed, errors = evaluate_model(model, *words)
    assert status == 0, errors
    assert errors.count("has no column song_id, but sound, genre: each clip counts as a song;") == 1
    assert "--song_column" in errors
    assert json.loads((out / "metrics.json").read_text())["unit"] == "clip"
    assert "16 clips, 2 genres\n" in printed and "song" not in printed
    html = re.sub('base64,[^"]*', "", (out / "report.html").read_text())
    html = html.replace(str(data), "DATA")
    assert "16 clips from DATA" in html and "song" not in html.lower()
    assert (out / "f1_against_share.png").is_file(), "shares are those of the model's own training"
    named = [model, "--dataset", shards, "--output_dir", tmp_path / "named", *FLAGS]
    status, printed, errors = evaluate_model(*named)
    assert "16 clips of 8 songs" in printed and "counts as a song" not in errors


def test_clips_that_were_not_held_out_are_no_validation_split(
    model, shards, evaluate_model, tmp_path
):
    """Another dataset than the model's: some of these clips may be those it was trained on."""
    other = tmp_path / "other"
    other.mkdir()
    train = Dataset.from_parquet(str(shards / "train-00000-of-00001.parquet"))
    train.select(range(60)).to_parquet(other / "train-00000-of-00001.parquet")
    words = ["--dataset", other, "--split", "validation", "--output_dir", tmp_path / "out"]
    status, _, errors = evaluate_model(model, *words, *FLAGS)
    assert status == 2 and "has no validation split, and the model's training held none" in errors


def test_clips_without_songs_are_named_the_same_wherever_they_lie(genre_dataset, tmp_path):
    prints = []
    for place in ("here", "there"):
        folder = tmp_path / place / "train"
        for genre in ("rock", "jazz"):
            (folder / genre).mkdir(parents=True)
            for clip in (genre_dataset / "train").glob(f"*{genre}*.flac"):
                shutil.copy(clip, folder / genre)
        prints.append(dataset_fingerprint(load_splits(tmp_path / place)))
    assert prints[0] == prints[1]


def test_shards_made_here_are_trained_on_and_evaluated(short_start, evaluate_model, tmp_path):
    raw = make_library(tmp_path / "raw", {"0_a": 6, "1_b": 6}, seconds=(2, 3))
    data, folder = tmp_path / "data", tmp_path / "model"
    assert prepare(raw, "--output_dir", data, "--format", "parquet", "--clip_seconds", 1) == 0
    run_training(short_start, data, folder, "--num_train_epochs", "1")
    status, _, errors = evaluate_model(folder, "--dataset", data, "--output_dir", tmp_path / "out")
    assert status == 0, errors
    measured = json.loads((tmp_path / "out/metrics.json").read_text())
    assert measured["clip"]["count"] == len(load_splits(data)["test"])
    assert measured["calibration"] is not None
