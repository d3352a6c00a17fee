"""The classifier hears what the stock pipeline hears, whole songs, and says what it cannot."""

import json
import shutil
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.special import log_softmax, softmax
from transformers import ASTConfig, ASTModel, BertConfig, pipeline

from genreast import attention, inference, pretrained
from genreast.audio import AudioError, load_audio, window_starts
from genreast.errors import UserError
from genreast.features import LogMel
from genreast.inference import GenreClassifier
from genreast.precision import choose


@pytest.fixture(scope="module")
def classifier(tiny_model):
    return GenreClassifier.from_pretrained(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def stock(tiny_model):
    return pipeline("audio-classification", model=str(tiny_model), device="cpu")


def test_as_a_library_it_loads_without_a_warning(tiny_model):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="At least one mel filter")
        GenreClassifier.from_pretrained(tiny_model, device="cpu")


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


@pytest.mark.parametrize(("ability", "expected"), [("avx512_bf16", torch.bfloat16), ("", None)])
def test_auto_is_bfloat16_where_the_cpu_multiplies_it_but_for_very_small_models(
    tiny_model, monkeypatch, ability, expected
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {ability: True})
    small, _ = pretrained.load(str(tiny_model))
    larger = torch.nn.Linear(1000, 1000, device="meta")
    cpu = torch.device("cpu")
    assert choose("auto", small, cpu) == torch.float32
    assert choose("auto", larger, cpu) == (expected or torch.float32)


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
    from genreast import windows

    def breaking(path, block_seconds=60):
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


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_models_that_cannot_be_used_are_refused_in_words(tiny_model, tmp_path):
    def refuse(folder, words):
        with pytest.raises(UserError, match=words):
            pretrained.load(str(folder))

    refuse(tmp_path, "holds no config.json")
    refuse(tmp_path / "nowhere", "is not there")
    BertConfig().save_pretrained(tmp_path / "bert")
    refuse(tmp_path / "bert", "of type 'bert'")
    config = ASTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    ASTModel(config).save_pretrained(tmp_path / "bare")
    refuse(tmp_path / "bare", "not audio classification")
    nameless = shutil.copytree(tiny_model, tmp_path / "nameless")
    change_config(nameless, id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})
    refuse(nameless, "no label names")
    headless = shutil.copytree(tmp_path / "bare", tmp_path / "headless")
    change_config(headless, id2label={"0": "rock", "1": "jazz"}, architectures=None)
    shutil.copy(tiny_model / "preprocessor_config.json", headless)
    refuse(headless, "no trained 'classifier")
    other = shutil.copytree(tiny_model, tmp_path / "other")
    features = json.loads((other / "preprocessor_config.json").read_text())
    (other / "preprocessor_config.json").write_text(json.dumps({**features, "max_length": 512}))
    refuse(other, "max_length 512")
    (other / "preprocessor_config.json").unlink()
    refuse(other, "holds no preprocessor_config.json")
    damaged = shutil.copytree(tiny_model, tmp_path / "damaged")
    weights = (tiny_model / "model.safetensors").read_bytes()
    for content in (
        weights[:5000],
        weights[:-1],
        b"",
        b"version https://git-lfs.github.com/spec/v1",
    ):
        (damaged / "model.safetensors").write_bytes(content)
        refuse(damaged, "are cut short or no safetensors")
    refuse(damaged / "model.safetensors", "is a file; expected a model folder")
    for change, words in (
        ({"problem_type": "multi_label_classification"}, "expected one genre a song"),
        ({"hidden_size": 64}, "other shapes than its config.json says"),
        ({"hidden_size": "x"}, "expected int, got str"),
    ):
        changed = shutil.copytree(tiny_model, tmp_path / f"changed {words}")
        change_config(changed, **change)
        refuse(changed, words)
    for labels in (
        {"1": "rock", "2": "jazz", "3": "pop"},
        {"0": 1970, "1": 1980, "2": 1990},
        {"0": "rock", "1": "jazz", "2": "rock"},
        {"0": "rock", "1": "jazz", "2": ""},
        ["rock", "jazz", "pop"],
    ):
        change_config(changed, id2label=labels)
        refuse(changed, r"expected the numbers from 0, each with a name of its own")
    (changed / "config.json").write_text("[]")
    refuse(changed, "is no object")
    with pytest.raises(UserError, match="--device is 'banana'; expected cpu, cuda, cuda:1 or mps"):
        GenreClassifier.from_pretrained(tiny_model, device="banana")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_in_turn_attend_as_torch_does(dtype):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 5, 37, 16).to(dtype) for _ in range(3))
    ours = [part.clone().requires_grad_() for part in (query, key, value)]
    exactly = [part.float().requires_grad_() for part in (query, key, value)]
    mixed, _ = attention.heads_in_turn(torch.nn.Identity(), *ours, scaling=0.3)
    exact = torch.nn.functional.scaled_dot_product_attention(*exactly, scale=0.3).transpose(1, 2)
    atol = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(mixed.float(), exact, atol=atol, rtol=0)
    push = torch.randn(mixed.shape).to(dtype)
    mixed.backward(push)
    exact.backward(push.float())
    for one, other in zip(ours, exactly, strict=True):
        torch.testing.assert_close(one.grad.float(), other.grad, atol=atol, rtol=0)
    with torch.no_grad():
        plain, _ = attention.heads_in_turn(torch.nn.Identity(), *ours, scaling=0.3)
    assert torch.equal(plain, mixed)


def test_features_are_exact_where_a_precision_is_asked_for_and_quick_otherwise(tiny_model):
    noise = torch.randn(1, 160_000, generator=torch.Generator().manual_seed(0))
    quick, asked = (
        GenreClassifier.from_pretrained(tiny_model, "cpu", precision).log_mel(noise)
        for precision in ("auto", "float32")
    )
    exact = LogMel.from_extractor(pretrained.load(str(tiny_model))[1]).eval()
    assert torch.equal(asked, exact(noise))
    assert torch.equal(quick, exact.train()(noise)) and not torch.equal(quick, asked)


def test_bfloat16_on_a_cpu_attends_by_plain_products(tiny_model, song_files, monkeypatch):
    ours, calls = attention.heads_in_turn, []
    monkeypatch.setattr(
        attention, "heads_in_turn", lambda *words, **named: calls.append(1) or ours(*words, **named)
    )
    for tiles, used in ((True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda tiles=tiles: {"amx_bf16": tiles})
        GenreClassifier.from_pretrained(tiny_model, "cpu", "bfloat16")(song_files["ten"])
        assert bool(calls) == used


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
