"""predict_song.py on real files: forms of output, exit status, pictures, and what goes wrong."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import HfApi, constants
from PIL import Image

from genreast.errors import UserError, run
from genreast.inference import GenreClassifier, SongPrediction
from genreast.inference.answers import clock, csv_row, find_songs

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def predict_song(monkeypatch, capsys):
    """Run the script in this process: its exit status, standard output and standard error."""
    import predict_song

    def call(*arguments) -> subprocess.CompletedProcess:
        monkeypatch.setattr(sys, "argv", ["predict_song.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run(predict_song.main)
        return subprocess.CompletedProcess(arguments, stop.value.code, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def expected(tiny_model, song_files):
    classifier = GenreClassifier.from_pretrained(tiny_model, device="cpu")
    return {str(path): dict(classifier(path).genres()) for path in song_files.values()}


def test_a_song_as_a_table_with_its_timeline(
    predict_song, tiny_model, song_files, expected, tmp_path
):
    song = str(song_files["long"])
    result = predict_song(tiny_model, song, "--timeline", tmp_path / "song.png", "--top_k", 2)
    assert result.returncode == 0, result.stderr
    heading, first, second, *rest = result.stdout.splitlines()
    assert heading == f"{song}  (34 s, 3 windows)" and rest == [""]
    best = sorted(expected[song].items(), key=lambda each: -each[1])
    assert first.split()[:2] == [best[0][0], f"{best[0][1]:.1%}"]
    assert second.split()[:2] == [best[1][0], f"{best[1][1]:.1%}"]
    assert Image.open(tmp_path / "song.png").width > 1000
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("few", [[], ["--max_windows", "2"]])
def test_a_song_that_cannot_be_read_twice_is_answered_without_a_timeline(
    predict_song, tiny_model, song_files, expected, tmp_path, few
):
    if not os.path.exists("/dev/stdin"):
        pytest.skip("needs /dev/stdin")
    standard_input = os.dup(0)
    with subprocess.Popen(["cat", song_files["short"]], stdout=subprocess.PIPE) as cat:
        os.dup2(cat.stdout.fileno(), 0)
        try:
            options = ["--timeline", tmp_path / "song.png", *few]
            result = predict_song(tiny_model, "/dev/stdin", *options)
        finally:
            os.dup2(standard_input, 0)
            os.close(standard_input)
    genres = expected[str(song_files["short"])]
    assert result.returncode == 1
    assert result.stdout.splitlines()[1].split()[0] == max(genres, key=genres.get)
    assert "'/dev/stdin' cannot be read again (a pipe is read once)" in result.stderr
    assert "Traceback" not in result.stderr and not (tmp_path / "song.png").exists()


def test_json_names_every_song_and_the_exit_status_says_one_failed(
    predict_song, tiny_model, song_files, expected, tmp_path
):
    broken = tmp_path / "broken.mp3"
    broken.write_bytes(b"")
    folder = song_files["ten"].parent
    result = predict_song(tiny_model, broken, folder, "--format", "json", "--max_windows", 3)
    assert result.returncode == 1
    rows = {row["song"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert set(rows) == {str(broken), *expected}
    assert "empty" in rows[str(broken)]["error"] and str(broken) in result.stderr
    for song, genres in expected.items():
        scores = {each["label"]: each["score"] for each in rows[song]["genres"]}
        assert scores == pytest.approx(genres, abs=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_cpu_that_imitates_what_was_asked_for_is_told_of(
    predict_song, tiny_model, song_files, monkeypatch, precision
):
    monkeypatch.setattr("torch.cpu.get_capabilities", dict)
    words = (tiny_model, song_files["ten"], "--device", "cpu", "--precision", precision)
    result = predict_song(*words)
    assert result.returncode == 0 and "%" in result.stdout
    assert ("only imitates bfloat16" in result.stderr) == (precision == "bfloat16")


def test_csv_and_embeddings_hold_all_genres(
    predict_song, tiny_model, song_files, expected, tmp_path
):
    out = tmp_path / "out.npz"
    folder = song_files["ten"].parent
    result = predict_song(tiny_model, folder, "--format", "csv", "--embeddings", out)
    assert result.returncode == 0, result.stderr
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["song"] for row in rows] == sorted(expected)
    for row in rows:
        genres = expected[row["song"]]
        assert row["genre"] == max(genres, key=genres.get)
        assert {name: float(row[name]) for name in genres} == pytest.approx(genres, abs=1e-5)
    saved = np.load(out)
    assert saved["labels"].tolist() == list(rows[0])[4:-1]
    assert saved["songs"].tolist() == [row["song"] for row in rows]
    assert saved["embeddings"].shape == (3, 32)
    told = predict_song("--help").stdout
    assert f"of {', '.join(saved.files)}" in " ".join(told.split())


@pytest.mark.parametrize("end", [KeyboardInterrupt, BrokenPipeError])
def test_a_run_that_is_stopped_keeps_its_embeddings_and_an_earlier_run_s(
    predict_song, tiny_model, song_files, tmp_path, monkeypatch, end
):
    def show(prediction, *_):
        if prediction.song != first:
            raise end

    first, second = str(song_files["ten"]), str(song_files["short"])
    monkeypatch.setattr("genreast.inference.answers.show", show)
    monkeypatch.setattr("genreast.errors._let_go_of_output", lambda: None)
    (tmp_path / "out.npz").write_text("an earlier run's")
    result = predict_song(tiny_model, first, second, "--embeddings", tmp_path / "out.npz")
    assert f"embeddings: {tmp_path}/out-stopped.npz\n" in result.stderr
    assert np.load(tmp_path / "out-stopped.npz")["songs"].tolist() == [first, second]
    assert (tmp_path / "out.npz").read_text() == "an earlier run's"


def test_a_run_that_a_scheduler_ends_keeps_its_embeddings(tiny_model, song_files, tmp_path):
    command = [sys.executable, str(ROOT / "predict_song.py"), str(tiny_model)]
    command += [str(song_files["short"])] * 500
    command += ["--format", "json", "--embeddings", str(tmp_path / "out.npz")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert len(np.load(tmp_path / "out-stopped.npz")["songs"]) > 0


def test_without_one_answer_the_arrays_have_their_shapes_still(predict_song, tiny_model, tmp_path):
    result = predict_song(tiny_model, tmp_path / "gone.wav", "--embeddings", tmp_path / "out.npz")
    assert result.returncode == 1
    saved = {name: array.shape for name, array in np.load(tmp_path / "out.npz").items()}
    expected = {"songs": (0,), "embeddings": (0, 32), "probabilities": (0, 3), "labels": (3,)}
    assert saved == expected


def test_a_model_on_the_hub_is_heard_from_there(
    hub, tiny_model, song_files, expected, tmp_path, monkeypatch
):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    api = HfApi(endpoint=hub.url, token="hf_alice")
    api.create_repo("alice/tiny")
    api.upload_folder(repo_id="alice/tiny", folder_path=tiny_model)
    song = str(song_files["ten"])

    command = [sys.executable, "predict_song.py", "alice/tiny", song, "--format", "json"]
    environment = os.environ | hub.environment(tmp_path / "cache")
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    scores = {each["label"]: each["score"] for each in json.loads(result.stdout)["genres"]}
    assert scores == pytest.approx(expected[song], abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["MODEL"], "no song given"),
        (["MODEL", "SONG", "--top_k", "0", "--overlap", "1"], "--overlap is 1; expected 0 to 0.99"),
        (["MODEL", "SONG", "--timeline", "SONG"], "ends with .png"),
        (["MODEL", "SONG", "SONG", "--timeline", "out.png"], "draws one song"),
        (["MODEL", "EMPTY"], "holds no audio file"),
        (["MODEL", "SONG", "--embeddings", "FOLDER.npz"], "is a folder; name a file in it"),
        (["EMPTY", "SONG"], "holds no config.json"),
        (["SONG", "MODEL"], "a file; expected a model folder or a Hub id, and songs after it"),
    ],
)
def test_mistakes_end_in_a_message(
    predict_song, tiny_model, song_files, tmp_path, arguments, words
):
    names = {"MODEL": tiny_model, "SONG": song_files["short"], "EMPTY": tmp_path}
    names["FOLDER.npz"] = tmp_path / "folder.npz"
    names["FOLDER.npz"].mkdir()
    result = predict_song(*[names.get(word, word) for word in arguments])
    assert result.returncode == 2
    assert words in result.stderr and "Traceback" not in result.stderr


def test_a_name_that_is_no_unicode_is_heard_and_shown(
    predict_song, tiny_model, song_files, tmp_path
):
    name = os.fsdecode(b"caf\xe9.wav")
    try:
        (tmp_path / name).write_bytes(song_files["short"].read_bytes())
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    result = predict_song(tiny_model, tmp_path, "--timeline", tmp_path / "new" / "song.png")
    assert result.returncode == 0 and "caf" in result.stdout, result.stderr
    assert Image.open(tmp_path / "new" / "song.png").width > 1000


def test_a_reader_that_has_enough_ends_the_work_without_a_word(tiny_model, song_files):
    songs = " ".join(["$2"] * 9)
    command = f"set -o pipefail; '{sys.executable}' predict_song.py \"$1\" {songs} | head -c 1"
    arguments = ["bash", "-c", command, "bash", str(tiny_model), str(song_files["short"])]
    result = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr


def test_folders_are_searched_in_order_and_names_kept(song_files, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / ".trash").mkdir()
    for name in ("b/two.MP3", "one.flac", "notes.txt", "cover.jpg", "._one.flac", ".trash/3.wav"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.mp3")
    found = find_songs(["absent.wav", str(tmp_path)])
    assert found == ["absent.wav", str(tmp_path / "b/two.MP3"), str(tmp_path / "one.flac")]
    (tmp_path / "b" / "two.MP3").unlink()
    with pytest.raises(UserError):
        find_songs([str(tmp_path / "b")])


def test_links_of_a_folder_are_heard_and_what_cannot_be_is_named(
    predict_song, tiny_model, song_files, tmp_path, monkeypatch
):
    folder, elsewhere, scandir = tmp_path / "songs", tmp_path / "elsewhere", os.scandir
    for name in ("locked", "real"):
        (folder / name).mkdir(parents=True)
    elsewhere.mkdir()
    (elsewhere / "song.wav").symlink_to(song_files["short"])
    (folder / "linked").symlink_to(elsewhere)
    (folder / "real" / "loop").symlink_to(folder)
    (folder / "gone.mp3").symlink_to("nowhere.mp3")

    def refuse(path):  # as for a user without the right; root has it everywhere
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    result = predict_song(tiny_model, folder, "--format", "csv")
    assert result.returncode == 1
    problems = {row["song"]: row["problem"] for row in csv.DictReader(io.StringIO(result.stdout))}
    assert problems == {
        f"{folder}/gone.mp3": "no such file",
        f"{folder}/linked/song.wav": "",
        f"{folder}/locked": "a folder, no file",
    }
    assert all(song in result.stderr for song, problem in problems.items() if problem)


def test_lengths_read_as_people_write_them():
    seconds = (3.74, 59.4, 160, 119.6, 3599.7, 3723)
    expected = ["3.74 s", "59.4 s", "2:40", "2:00", "1:00:00", "1:02:03"]
    assert [clock(each) for each in seconds] == expected


def test_a_row_of_csv_is_one_row_whatever_a_file_is_named():
    names = ['a "song", they say', "two\nlines", "two\r\nlines"]
    lines = [csv_row(SongPrediction(name, ["rock"], problem="a, b")) for name in names]
    rows = csv.reader(io.StringIO("\n".join(lines), newline=""))
    assert [(row[0], row[-1]) for row in rows] == [(name, "a, b") for name in names]
