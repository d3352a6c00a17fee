"""The classifier hears what the stock pipeline hears, whole songs, and says what it cannot."""

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from scipy.special import log_softmax, softmax
from transformers import pipeline

from genreast import pretrained
from genreast.audio import AudioError, load_audio, window_starts
from genreast.errors import UserError
from genreast.features import LogMel
from genreast.inference import GenreClassifier
from genreast.inference import classifier as inference


@pytest.fixture(scope="module")
def classifier(tiny_model):
    return GenreClassifier.from_pretrained(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def stock(tiny_model):
    return pipeline("audio-classification", model=str(tiny_model), device="cpu")


@pytest.mark.parametrize("name", ["ten", "short"])
def test_song_of_one_window_scores_as_the_stock_pipeline(classifier, stock, song_files, name):
    expected = {each["label"]: each["score"] for each in stock(str(song_files[name]))}
    genres = dict(classifier(song_files[name]).genres())
    assert genres == pytest.approx(expected, abs=1e-4)
    assert max(expected.values()) < 0.999  # a saturated score could not differ


def test_long_song_is_the_mean_of_its_windows_log_probabilities(classifier, stock, song_files):
    audio = load_audio(song_files["long"])
    rows = []
    for start in window_starts(len(audio), 160_000):
        scores = {each["label"]: each["score"] for each in stock(audio[start : start + 160_000])}
        rows.append([scores[label] for label in classifier.labels])
    prediction = classifier(song_files["long"], batch_size=2)
    assert np.exp(prediction.log_probabilities) == pytest.approx(np.array(rows), abs=1e-4)
    mean = softmax(log_softmax(np.log(rows), axis=1).mean(0))
    assert prediction.probabilities == pytest.approx(mean, abs=1e-4)
    assert prediction.starts == [0, 10, 20]
    assert np.ptp(rows, axis=0).max() > 0.01  # the windows do differ


def test_batches_reach_across_songs_and_change_nothing(classifier, song_files):
    songs = [song_files[name] for name in ("long", "short", "ten", "long")]
    alone = [classifier(song).log_probabilities for song in songs]
    together = list(classifier.predict(songs, batch_size=3))
    assert [prediction.song for prediction in together] == [str(song) for song in songs]
    for prediction, expected in zip(together, alone, strict=True):
        assert prediction.log_probabilities == pytest.approx(expected, abs=1e-4)


def test_songs_are_yielded_as_they_finish(classifier, song_files):
    asked = []

    def songs():
        for _ in range(12):
            asked.append(1)
            yield song_files["ten"]

    next(classifier.predict(songs(), batch_size=1))
    assert len(asked) < 12


def test_overlap_and_limit_choose_the_windows(classifier, song_files):
    prediction = classifier(song_files["long"], overlap=0.5)
    assert prediction.starts == [0, 5, 10, 15, 20, 24]
    assert len(classifier(song_files["long"], max_windows=2).starts) == 2


def test_window_is_what_training_cut(classifier, tiny_model, tmp_path, song_files):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "clip_seconds": 4.0}))
    prediction = GenreClassifier.from_pretrained(folder, device="cpu")(song_files["ten"])
    assert prediction.window_seconds == 4 and prediction.starts == [0, 4, 6]
    assert classifier.window == 160_000


def test_bfloat16_moves_probabilities_a_little(classifier, tiny_model, song_files):
    low = GenreClassifier.from_pretrained(tiny_model, device="cpu", precision="bfloat16")
    exact, near = (each(song_files["long"]).log_probabilities for each in (classifier, low))
    assert classifier.dtype == torch.float32
    assert np.exp(near) == pytest.approx(np.exp(exact), abs=0.02)
    assert np.abs(near - exact).max() > 1e-5  # it did run in bfloat16
    with pytest.raises(UserError, match="--precision is 'int4'"):
        GenreClassifier.from_pretrained(tiny_model, precision="int4")


def test_embedding_is_the_mean_of_the_pooled_features(classifier, song_files):
    embedding = classifier(song_files["ten"]).embedding
    with torch.inference_mode():
        logits = classifier.model.classifier(torch.tensor(embedding)[None])[0]
    expected = classifier(song_files["ten"]).probabilities
    assert logits.softmax(0).numpy() == pytest.approx(expected, abs=1e-5)


def test_songs_without_an_answer_are_named_and_the_others_go_on(classifier, song_files, tmp_path):
    silent, click, text = (tmp_path / name for name in ("silent.wav", "click.wav", "text.mp3"))
    soundfile.write(silent, np.zeros(200_000), 16_000)
    soundfile.write(click, np.full(200, 0.5), 16_000)
    text.write_text("not music")
    songs = [silent, song_files["ten"], click, text, tmp_path / "gone.wav", song_files["short"]]
    predictions = list(classifier.predict(songs))
    problems = [prediction.problem for prediction in predictions]
    assert problems[1] is None and problems[5] is None
    assert "silent" in problems[0] and "too short" in problems[2]
    assert "not audio" in problems[3] and "no such file" in problems[4]
    with pytest.raises(AudioError, match=r"silent\.wav: what was heard of it is silent"):
        classifier(silent)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlap": 1.0}, "overlap is 1.0; expected 0 or more and below 1"),
        ({"overlap": -0.1}, "overlap is -0.1; expected"),
        ({"overlap": float("nan")}, "overlap is nan; expected"),
        ({"batch_size": 0}, "batch_size is 0 and max_windows None; expected 1 or more"),
        ({"max_windows": 0}, "max_windows 0; expected 1 or more"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_heard(classifier, options, words):
    with pytest.raises(ValueError, match=words):
        classifier.predict(iter([]), **options)


@pytest.mark.parametrize("song", ["song.wav", Path("song.wav"), b"RIFF"])
def test_one_song_is_not_taken_for_several(classifier, song):
    with pytest.raises(ValueError, match=r"expected several, as \[song\]"):
        classifier.predict(song)


@pytest.mark.parametrize("song", [np.zeros(160_000, np.float32), {"array": []}, None])
def test_what_is_no_song_is_told_so(classifier, song):
    with pytest.raises(TypeError, match=f"bytes, not {type(song).__name__}; samples are written"):
        classifier(song)


def test_several_songs_are_sent_to_where_they_are_heard(classifier, song_files):
    with pytest.raises(TypeError, match=r"song is a list; expected one song: predict\(songs\)"):
        classifier([song_files["ten"], song_files["short"]])


def test_predictions_can_be_looked_for_among_others(classifier, song_files):
    one, other = classifier.predict([song_files["short"]] * 2)
    assert other in [one, other] and one != other


def test_a_prediction_is_shown_without_its_numbers(classifier, song_files):
    prediction = classifier(song_files["long"])
    assert len(repr(prediction)) < 300 and "array" not in repr(prediction)
    assert "seconds=34.0" in repr(prediction)


def test_a_stream_that_breaks_midway_takes_only_its_song(classifier, song_files, monkeypatch):
    from genreast.inference import windows

    def breaking(path):
        calls.append(path)
        yield np.full(200_000, 0.1, np.float32)
        if len(calls) == 2:  # the first pass counts, the second cuts
            raise AudioError("the disk has gone")
        yield np.full(200_000, 0.1, np.float32)

    calls = []
    monkeypatch.setattr(windows, "stream_audio", breaking)
    monkeypatch.setattr(windows, "is_long", lambda source: source == song_files["long"])
    songs = [song_files["ten"], song_files["long"], song_files["short"]]
    first, broken, last = classifier.predict(songs, batch_size=2)
    assert broken.problem == "the disk has gone"
    assert first.problem is None and last.problem is None


def test_one_frame_of_sound_is_heard(classifier, tmp_path):
    path = tmp_path / "25ms.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 400), 16_000)
    assert classifier(path).probabilities.sum() == pytest.approx(1)


def test_features_are_exact_where_a_precision_is_asked_for_and_quick_otherwise(tiny_model):
    noise = torch.randn(1, 160_000, generator=torch.Generator().manual_seed(0))
    quick, asked = (
        GenreClassifier.from_pretrained(tiny_model, "cpu", precision).log_mel(noise)
        for precision in ("auto", "float32")
    )
    exact = LogMel(pretrained.load(str(tiny_model))[1]).eval()
    assert torch.equal(asked, exact(noise))
    assert torch.equal(quick, exact.train()(noise)) and not torch.equal(quick, asked)


def test_a_small_model_runs_on_one_thread_and_leaves_the_callers_as_they_were(
    classifier, song_files, monkeypatch
):
    seen = []
    hear = classifier.model.audio_spectrogram_transformer.forward

    def watched(*arguments, **options):
        seen.append(torch.get_num_threads())
        return hear(*arguments, **options)

    monkeypatch.setattr(classifier.model.audio_spectrogram_transformer, "forward", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        classifier(song_files["long"])
        assert set(seen) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_batches_side_by_side_leave_threads_to_come_as_they_were(
    classifier, song_files, monkeypatch
):
    body, before = classifier.model.audio_spectrogram_transformer, torch.get_num_threads()
    hear, pad, turns, begun = body.forward, inference.pad_batch, count(), threading.Event()
    together = threading.Barrier(3)

    def later(windows):
        if next(turns):
            begun.wait()
        return pad(windows)

    def slow(*arguments, **options):
        first = not begun.is_set()
        begun.set()
        together.wait()
        time.sleep(0.0 if first else 0.1)
        return hear(*arguments, **options)

    monkeypatch.setattr(inference, "pad_batch", later)
    monkeypatch.setattr(body, "forward", slow)
    monkeypatch.setattr(classifier, "batches_at_once", 3)
    torch.set_num_threads(3)
    try:
        list(classifier.predict([song_files["long"]], batch_size=1))
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)


def test_batches_heard_side_by_side_give_the_answers_of_one_after_another(
    classifier, song_files, monkeypatch
):
    songs = [song_files[name] for name in ("long", "short", "ten", "long", "ten")]
    monkeypatch.setattr(classifier, "batches_at_once", 1)
    expected = list(classifier.predict(songs, batch_size=2))
    logits, lock, running, most = classifier.logits, threading.Lock(), [], []

    def slow(waveforms, lengths):
        with lock:
            running.append(1)
            most.append(len(running))
            turn = len(most)
        time.sleep(0.2 if turn % 2 else 0.0)  # a later batch is often done before an earlier one
        answer = logits(waveforms, lengths)
        with lock:
            running.pop()
        return answer

    monkeypatch.setattr(classifier, "logits", slow)
    monkeypatch.setattr(classifier, "batches_at_once", 3)
    found = list(classifier.predict(songs, batch_size=2))
    assert 1 < max(most) <= 3
    assert [one.song for one in found] == [one.song for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.log_probabilities, other.log_probabilities)
        assert np.array_equal(one.embedding, other.embedding)


def test_a_small_model_hears_a_batch_a_core_and_a_large_one_a_batch(tiny_model, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert GenreClassifier.from_pretrained(tiny_model, "cpu").batches_at_once == 3
    monkeypatch.setattr(inference, "is_large", lambda model: True)
    assert GenreClassifier.from_pretrained(tiny_model, "cpu").batches_at_once == 1


@pytest.mark.parametrize("songs", [1, 5])
def test_a_model_that_has_diverged_is_told_so(tiny_model, tmp_path, song_files, songs):
    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["classifier.dense.bias"][1] = float("nan")
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    classifier = GenreClassifier.from_pretrained(broken, device="cpu")
    with pytest.raises(UserError, match=r"no number \(NaN\) or infinite: it diverged"):
        list(classifier.predict([song_files["long"]] * songs, batch_size=2))
