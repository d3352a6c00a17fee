"""evaluate_model.py over a real split: its files agree with each other and with the pipeline."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Value
from PIL import Image
from transformers import pipeline

from genreast.data import audiofolder
from genreast.data.columns import clip_columns
from genreast.errors import UserError
from genreast.evaluation import figures, report, scoring, summary
from genreast.inference import GenreClassifier
from genreast.lock import LOCK_FILE, alone
from genreast.pretrained import weights_fingerprint

GENRES = ["disco", "rock", "jazz"]  # not the model's order


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Validation and test of 6 and 9 songs, two clips each, two songs an artist."""
    features = Features({"file_name": Value("string"), **clip_columns(GENRES)})
    root = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for split, songs in {"validation": 6, "test": 9}.items():
        (root / split).mkdir()
        rows = []
        for song in range(songs):
            for clip in range(2):
                name = f"song{song}_{clip}.flac"
                time = np.arange(32_000) / 16_000
                tone = 0.3 * np.sin(2 * np.pi * generator.uniform(80, 4000) * time)
                noise = generator.normal(0, generator.uniform(0.001, 0.2), len(time))
                soundfile.write(root / split / name, tone + noise, 16_000)
                genre = GENRES[song % 3]
                group = f"artist{song // 2}"
                rows.append(
                    {
                        "file_name": name,
                        "label": genre,
                        "song_id": f"{split}{song}",
                        "group": group,
                        "start": 2.0 * clip,
                    }
                )
        Dataset.from_list(rows, features=features).to_parquet(root / split / "metadata.parquet")
    return root


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_files_of_an_evaluation_agree(evaluate_model, tiny_model, data, tmp_path):
    out = tmp_path / "out"
    status, printed, _ = evaluate_model(tiny_model, "--dataset", data, "--output_dir", out)
    assert status == 0
    metrics = json.loads((out / "metrics.json").read_text())
    clips, songs = read_csv(out / "predictions.csv"), read_csv(out / "songs.csv")
    assert len(clips) == 18 and len(songs) == 9
    for rows, level in ((clips, "clip"), (songs, "song")):
        right = np.mean([row["label"] == row["prediction"] for row in rows])
        assert metrics[level]["accuracy"] == pytest.approx(right)
        low, high = metrics["confidence_intervals"][level]["accuracy"]
        assert low <= right <= high
        assert f"{right:.3f}" in printed
    assert "95 % intervals: bootstrap over 5 groups\n" in printed
    assert "no interval of mean average precision: too few groups a genre (3.0;" in printed
    for song in songs:
        rows = [row for row in clips if row["song_id"] == song["song_id"]]
        mean = np.mean([np.log([float(row[name]) for name in GENRES]) for row in rows], axis=0)
        shares = np.exp(mean) / np.exp(mean).sum()
        assert [float(song[name]) for name in GENRES] == pytest.approx(shares, abs=1e-4)
        assert song["label"] == GENRES[int(song["song_id"].removeprefix("test")) % 3]
        assert song["clips"] == "2" and song["group"].startswith("artist")
    assert metrics["model_fingerprint"] == weights_fingerprint(str(tiny_model))
    assert torch.__version__.startswith(metrics["versions"]["torch"])  # or also +cu130
    assert metrics["calibration"]["clip"]["before"]["ece"] == metrics["clip"]["ece"]
    assert Image.open(out / "confusion_matrix.png").width > 300
    assert not list(out.glob("*.part"))


def test_the_precision_is_recorded_and_told_of_where_it_is_slow(
    evaluate_model, tiny_model, data, tmp_path, monkeypatch
):
    monkeypatch.setattr("torch.cpu.get_capabilities", dict)
    words = (tiny_model, "--dataset", data, "--no-calibrate", "--device", "cpu")
    for precision in ("auto", "bfloat16"):
        out = tmp_path / precision
        status, _, told = evaluate_model(*words, "--precision", precision, "--output_dir", out)
        used = json.loads((out / "metrics.json").read_text())["precision"]
        assert status == 0 and used == {"auto": "float32"}.get(precision, precision)
        assert ("only imitates bfloat16" in told) == (precision == "bfloat16")


def test_a_model_that_is_not_there_is_told_before_a_dataset_is_downloaded(evaluate_model, tmp_path):
    absent = tmp_path / "model"
    status, _, told = evaluate_model(absent, "--dataset", tmp_path / "data")
    assert status == 2 and f"model '{absent}' is not there" in told


def stopped(*_, **__):
    raise KeyboardInterrupt


def test_an_evaluation_replaces_its_like_alone(
    evaluate_model, tiny_model, data, tmp_path, monkeypatch
):
    table = tmp_path / "data" / "songs.csv"
    shutil.copytree(data, table.parent)
    table.write_text("the dataset's own")
    arguments = (tiny_model, "--dataset", table.parent, "--no-calibrate", "--output_dir")
    status, _, told = evaluate_model(*arguments, table.parent)
    assert status == 2 and "holds files, and no evaluation" in told
    assert table.read_text() == "the dataset's own"
    out = tmp_path / "out"
    assert evaluate_model(*arguments, out)[0] == 0
    again, other = (shutil.copytree(tiny_model, tmp_path / name) for name in ("again", "other"))
    monkeypatch.chdir(again)
    status, printed, _ = evaluate_model(".", *arguments[1:], out, "--compare", out)
    assert status == 0, "the same by another name"
    assert "on 9 songs:" in printed and "no difference that these songs can show" in printed
    assert "<title>again on the test split</title>" in (out / "report.html").read_text()
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    for changed, words in (
        ((other, *arguments[1:], out), f"of model '.', not '{other}'"),
        ((*arguments, out, "--split", "validation"), "of split 'test', not 'validation'"),
        ((*arguments, table), "is a file"),
    ):
        status, _, told = evaluate_model(*changed)
        assert status == 2 and words in told
    monkeypatch.setattr(figures, "draw_all", stopped)
    (out / "f1_against_share.png").write_bytes(b"of the dataset as it was")
    assert evaluate_model(*arguments, out)[0] == 130
    left = {path.name for path in out.iterdir()}
    assert left == {"metrics.json", "predictions.csv", "songs.csv"}, "no picture of other scores"


def test_of_two_evaluations_to_one_folder_the_second_is_refused(
    evaluate_model, tiny_model, data, tmp_path
):
    words = (tiny_model, "--dataset", data, "--no-calibrate", "--output_dir", tmp_path / "out")
    (tmp_path / "out").mkdir()
    with alone(tmp_path / "out" / LOCK_FILE, "the first"):
        status, _, told = evaluate_model(*words)
    assert status == 2 and "another run is evaluating to" in told
    (tmp_path / "out" / LOCK_FILE).touch()  # as a killed run leaves it
    assert evaluate_model(*words)[0] == 0
    assert not (tmp_path / "out" / LOCK_FILE).exists()


def test_an_evaluation_that_is_stopped_as_it_is_written_leaves_no_part_of_one(
    tmp_path, monkeypatch
):
    scored = scoring.Scored(["a"], np.zeros((1, 3)), np.zeros(1, int), ["a"], GENRES)
    (tmp_path / "songs.csv").write_text("an earlier one's")
    monkeypatch.setattr(Path, "write_text", stopped)
    with pytest.raises(KeyboardInterrupt):
        scoring.write(tmp_path, {}, scored, scored)
    assert [file.name for file in tmp_path.iterdir()] == ["songs.csv"]
    assert (tmp_path / "songs.csv").read_text() == "an earlier one's"


def test_clip_accuracy_is_that_of_the_evaluator_over_the_pipeline(tiny_model, data):
    import evaluate

    splits = audiofolder.load_splits(data)
    classifier = GenreClassifier.from_pretrained(tiny_model, device="cpu")
    clips, _ = scoring.hear_split(classifier, splits["test"], batch_size=4)

    class Accuracy(evaluate.Metric):
        def _info(self):
            return evaluate.MetricInfo(
                description="",
                citation="",
                inputs_description="",
                features=Features({"predictions": Value("int64"), "references": Value("int64")}),
            )

        def _compute(self, predictions, references):
            return {"accuracy": float(np.mean(np.equal(predictions, references)))}

    names = [row["path"] for row in splits["test"]["audio"]]
    paths = Dataset.from_dict({"file": names, "label": splits["test"]["label"]})
    found = evaluate.evaluator("audio-classification").compute(
        model_or_pipeline=str(tiny_model),
        data=paths,
        metric=Accuracy(keep_in_memory=True),
        label_mapping={name: index for index, name in enumerate(GENRES)},
    )
    assert found["accuracy"] == pytest.approx(np.mean(clips.predictions == clips.labels))
    assert len(set(clips.predictions)) > 1  # a model of one answer could agree by chance


def test_bytes_long_clips_and_unreadable_ones(tiny_model, data, song_files):
    good = (data / "test" / "song0_0.flac").read_bytes()
    rows = {
        "audio": [
            {"bytes": good, "path": None},
            {"bytes": b"no sound", "path": "broken.flac"},
            {"bytes": None, "path": str(song_files["long"])},
            None,
            {"bytes": b"", "path": "song0_0.flac"},
        ],
        "label": [0, 1, 2, 0, 0],
        "song_id": ["a", "b", "c", "a", "a"],
        "group": ["a", "b", "c", "a", "a"],
        "start": [0.0, 0.0, 0.0, 0.0, 0.0],
    }
    features = Features({"audio": Audio(decode=False), **clip_columns(GENRES)})
    classifier = GenreClassifier.from_pretrained(tiny_model, device="cpu")
    split = Dataset.from_dict(rows, features=features)
    clips, unreadable = scoring.hear_split(classifier, split, batch_size=2)
    assert list(unreadable) == ["broken.flac", "row 3", "song0_0.flac"]
    assert unreadable["row 3"] == unreadable["song0_0.flac"] == "there is no sound in it"
    assert report.song_pictures(split)("a").any()
    assert clips.names == ["row 0", str(song_files["long"])]
    assert clips.probabilities[1] == pytest.approx(classifier(song_files["long"]).probabilities)
    assert [classifier.labels[label] for label in clips.labels] == ["disco", "jazz"]
    with pytest.raises(UserError, match="not one clip"):
        scoring.hear_split(classifier, split.select([1]), batch_size=2)


def test_an_unreadable_clip_is_named_counted_and_told_by_the_exit_status(
    evaluate_model, tiny_model, data, tmp_path
):
    broken = shutil.copytree(data, tmp_path / "data")
    (broken / "test" / "song4_1.flac").write_bytes(b"")
    out = tmp_path / "out"
    arguments = ["--dataset", broken, "--output_dir", out, "--no_calibrate"]
    status, printed, errors = evaluate_model(tiny_model, *arguments)
    assert status == 1 and "song4_1.flac" in errors and "not be read: 1" in printed
    metrics = json.loads((out / "metrics.json").read_text())
    assert list(metrics["unreadable"]) == ["song4_1.flac"] and metrics["clip"]["count"] == 17
    assert metrics["calibration"] is None


def test_a_silent_clip_is_judged_as_the_pipeline_would(evaluate_model, tiny_model, data, tmp_path):
    quiet = shutil.copytree(data, tmp_path / "data")
    silence = quiet / "test" / "song4_1.flac"
    soundfile.write(silence, np.zeros(32_000), 16_000)
    arguments = ["--dataset", quiet, "--output_dir", tmp_path / "out", "--no_calibrate"]
    status, printed, _ = evaluate_model(tiny_model, *arguments)
    assert status == 0 and "18 clips of 9 songs" in printed
    heard = pipeline("audio-classification", model=str(tiny_model))(np.zeros(32_000))
    rows = {row["clip"]: row for row in read_csv(tmp_path / "out" / "predictions.csv")}
    assert {each["label"]: each["score"] for each in heard} == pytest.approx(
        {name: float(rows[silence.name][name]) for name in GENRES}, abs=1e-3
    )


def test_an_unreadable_validation_clip_counts_and_a_silent_split_costs_the_temperature_alone(
    evaluate_model, tiny_model, data, tmp_path
):
    broken = shutil.copytree(data, tmp_path / "data")
    clips = sorted((broken / "validation").glob("*.flac"))
    clips[0].write_bytes(b"")
    out = tmp_path / "out"
    arguments = [tiny_model, "--dataset", broken, "--output_dir", out]
    assert evaluate_model(*arguments)[0] == 1
    found = json.loads((out / "metrics.json").read_text())["calibration"]
    assert list(found["unreadable"]) == [clips[0].name] and found["song"]["before"]
    for clip in clips:
        clip.write_bytes(b"")
    status, printed, told = evaluate_model(*arguments)
    assert status == 0 and "18 clips of 9 songs" in printed
    assert "no temperature: not one clip of the split can be read" in told


def test_what_cannot_be_compared_is_refused_before_a_clip_is_heard(
    evaluate_model, tiny_model, data, tmp_path
):
    out = tmp_path / "out"
    arguments = [tiny_model, "--dataset", data, "--no_calibrate", "--output_dir"]
    assert evaluate_model(*arguments, out, "--split", "validation")[0] == 0
    status, _, told = evaluate_model(*arguments, tmp_path / "new", "--compare", out)
    assert status == 2 and "shares no song" in told and "clip/s" not in told
    assert not (tmp_path / "new").exists()


def test_shares_of_training_are_of_songs_not_clips():
    """Ten clips of one song weigh what one clip of another does."""
    columns = {"label": [0] * 10 + [1, 1], "song_id": ["a"] * 10 + ["b", "c"]}
    train = Dataset.from_dict(columns).cast_column("label", ClassLabel(names=["rock", "jazz"]))
    splits, genres = DatasetDict(train=train), ["jazz", "rock", "pop"]
    shares = scoring.training_shares({}, splits, genres, "song")
    assert shares == {"jazz": pytest.approx(2 / 3), "rock": pytest.approx(1 / 3), "pop": 0}
    assert scoring.training_shares({}, DatasetDict(test=train), genres, "song") is None


def test_shares_of_training_are_of_the_model_s_own():
    """Of another dataset the train split says nothing of what the model was trained on."""
    columns = {"label": [0, 1], "song_id": ["a", "b"]}
    train = Dataset.from_dict(columns).cast_column("label", ClassLabel(names=["rock", "jazz"]))
    counts = {"songs": {"rock": 3, "jazz": 1}, "clips": {"rock": 4, "jazz": 4}}
    record = {"dataset": {"splits": {"train": counts}}}
    splits, genres = DatasetDict(train=train), ["jazz", "rock"]
    shares = scoring.training_shares(record, splits, genres, "song")
    assert shares == {"jazz": 0.25, "rock": 0.75}
    assert set(scoring.training_shares(record, splits, genres, "clip").values()) == {0.5}


def test_the_table_has_clips_and_songs_in_their_columns():
    spans = {"song": {"accuracy": [0.25, 0.75]}}
    metrics = {"clip": dict.fromkeys(summary.SCORES, 0.125), "confidence_intervals": spans}
    metrics["song"] = {**dict.fromkeys(summary.SCORES, 0.5), "per_class": dict.fromkeys("abcd")}
    header, rows = summary.scores(metrics)
    assert header == ["", "clips", "songs", "95 % interval, songs"]
    assert rows[0] == ["accuracy", "0.125", "0.500", "0.250 to 0.750"]
    assert "top-3 accuracy" in [name for name, *_ in rows]
    del metrics["song"]["per_class"]["a"]
    header, rows = summary.scores(metrics | {"unit": "clip"})
    assert header == ["", "clips", "95 % interval, clips"]
    assert rows[0] == ["accuracy", "0.125", "0.250 to 0.750"]
    assert "top-3 accuracy" not in [name for name, *_ in rows]


def test_labels_match_by_name_and_differences_are_named():
    assert scoring.match_labels(["jazz", "rock"], ["rock", "pop", "jazz"]) == [2, 0]
    with pytest.raises(UserError, match=r"'polka' unknown to the model, 'pop' not in the dataset"):
        scoring.match_labels(["rock", "polka"], ["rock", "pop"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["MODEL", "--split", "dev"], "--split is 'dev'"),
        (
            ["MODEL", "--dataset", "DATA", "--split", "train"],
            "has no train split; it has validation, test",
        ),
        (["MODEL", "--dataset", "MODEL"], "error: "),
        (["DATA", "--dataset", "DATA"], "holds no config.json"),
        (["MODEL", "--pooling", "median"], "--pooling"),
    ],
)
def test_mistakes_end_in_a_message(evaluate_model, tiny_model, data, tmp_path, arguments, words):
    names = {"MODEL": tiny_model, "DATA": data}
    arguments = [names.get(word, word) for word in arguments]
    status, _, errors = evaluate_model(*arguments, "--output_dir", tmp_path / "out")
    assert status == 2 and words in errors and "Traceback" not in errors
    assert not (tmp_path / "out").exists()
