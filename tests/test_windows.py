"""Songs become the same windows whether they are held whole or streamed."""

import os
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from genreast import audio
from genreast.audio import AudioError, load_audio, window_starts
from genreast.inference import windows
from genreast.inference.windows import Cut, cut_stream, open_song, read_songs


@settings(max_examples=60, deadline=None)
@given(
    samples=st.integers(1, 300),
    window=st.integers(1, 60),
    hop=st.integers(1, 60),
    block=st.integers(1, 90),
    limit=st.none() | st.integers(1, 5),
)
def test_windows_of_a_stream_are_the_slices_of_the_whole(samples, window, hop, block, limit):
    audio = np.arange(samples, dtype=np.float32)
    starts = Cut(window, hop, limit).starts(samples)
    blocks = (audio[first : first + block] for first in range(0, samples, block))
    streamed = list(cut_stream(blocks, starts, window))
    assert len(streamed) == len(starts)
    for start, cut in zip(starts, streamed, strict=True):
        assert np.array_equal(cut, audio[start : start + window])


@given(st.integers(1, 2000), st.integers(1, 100), st.integers(1, 100))
def test_windows_hold_no_padding_and_leave_out_less_than_half_a_hop(samples, window, hop):
    starts = window_starts(samples, window, hop)
    assert starts[0] == 0 and all(0 < after - one <= hop for one, after in pairwise(starts))
    left_out = samples - (starts[-1] + window)
    assert 0 <= left_out < hop / 2 if samples >= window else starts == [0]
    if samples >= window and samples < window + hop / 2:
        assert starts == [0], "the second would repeat most of the first"


@pytest.mark.parametrize("hop", [160_000, 1_600_000], ids=["all heard", "little heard"])
def test_of_a_stream_no_more_is_held_than_a_window_and_a_block_or_two(hop):
    block = 960_000  # samples, a minute
    blocks = (np.zeros(block, np.float32) for _ in range(60))
    tracemalloc.start()
    try:
        for window in cut_stream(blocks, list(range(0, 60 * block - 160_000, hop)), 160_000):
            assert len(window) == 160_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 4 * block


@given(samples=st.integers(1, 5000), limit=st.integers(1, 8))
def test_limited_windows_are_some_of_all_and_spread_over_the_song(samples, limit):
    every = Cut(100).starts(samples)
    some = Cut(100, max_windows=limit).starts(samples)
    assert set(some) <= set(every)
    assert len(some) == len(set(some)) == min(limit, len(every))
    if len(every) > 2 * limit:
        assert some[0] > every[0] and some[-1] < every[-1]  # neither intro nor outro


def test_a_long_song_is_streamed_into_the_same_windows(song_files, monkeypatch):
    cut = Cut(window=48_000, hop=30_000)
    whole = open_song(song_files["long"], cut)
    expected = list(whole.windows)
    monkeypatch.setattr(audio, "STREAM_SECONDS", 5)
    monkeypatch.setattr(audio, "SHORT_BYTES", 0)
    streamed = open_song(song_files["long"], cut)
    assert streamed.samples == whole.samples and streamed.starts == whole.starts
    for cut_of_stream, cut_of_whole in zip(streamed.windows, expected, strict=True):
        assert np.array_equal(cut_of_stream, cut_of_whole)


def test_songs_come_in_their_order_and_errors_stand_in_their_place(song_files, tmp_path):
    broken = tmp_path / "broken.mp3"
    broken.write_text("no music")
    order = [song_files["long"], broken, song_files["ten"], tmp_path / "absent.wav"]
    order += [song_files["short"]] * 6
    opened = list(read_songs(order, Cut(160_000)))
    assert [name for name, _ in opened] == [str(path) for path in order]
    errors = {name for name, song in opened if isinstance(song, AudioError)}
    assert errors == {str(broken), str(order[3])}
    assert opened[2][1].samples == len(load_audio(song_files["ten"]))


def test_few_songs_wait_for_the_model(song_files, monkeypatch):
    """Each is held whole: read ahead without end, a folder of songs would fill the memory."""
    opened = []
    monkeypatch.setattr(windows, "open_song", lambda song, cut: opened.append(song) or song)
    monkeypatch.setattr(windows, "_opened", lambda pool, name, future: future.result())
    songs = read_songs(map(str, range(100)), Cut(160_000), threads=3)
    for consumed in range(1, 51):
        next(songs)
        assert len(opened) <= consumed + 3 + 1


def test_less_than_a_frame_is_refused_and_a_frame_is_not(tmp_path):
    path = tmp_path / "click.wav"
    soundfile.write(path, np.full(399, 0.1), 16_000)
    with pytest.raises(AudioError, match=r"24\.9 ms of sound are too short: 25 ms are the least"):
        open_song(path, Cut(160_000))
    soundfile.write(path, np.full(400, 0.1), 16_000)
    assert [len(window) for window in open_song(path, Cut(160_000)).windows] == [400]


@pytest.mark.parametrize("name", ["absent.wav", os.fsdecode(b"caf\xe9.wav"), "http://x/song.wav"])
def test_what_cannot_be_opened_is_told_in_the_same_words_however_it_is_read(name, tmp_path):
    for cut in (Cut(160_000), Cut(160_000, max_windows=1)):
        with pytest.raises(AudioError, match=r"^no such file$"):
            open_song(tmp_path / name, cut)
        with pytest.raises(AudioError, match=r"^a folder, no file$"):
            open_song(tmp_path, cut)
    with pytest.raises(AudioError, match=r"^no such file$"):
        list(audio.stream_audio(tmp_path / name))
