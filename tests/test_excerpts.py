"""What is heard of a song alone has the samples that decoding all of it gives there."""

import subprocess

import numpy as np
import pytest
import soundfile
from song_library import melody

from genreast import audio
from genreast.audio import load_audio
from genreast.inference import windows
from genreast.inference.excerpts import DecodeWhole, read_excerpts
from genreast.inference.windows import Cut, open_song

SECONDS = 26.0
WINDOW = 48_000


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A stereo song, louder than full scale in places, at a given rate; made once."""
    folder = tmp_path_factory.mktemp("wide")

    def at(rate: int):
        path = folder / f"{rate}.wav"
        if not path.exists():
            sides = [melody(seed, SECONDS, rate) for seed in (1, 2)]
            soundfile.write(path, 4 * np.stack(sides, 1), rate, "FLOAT")
        return path

    return at


@pytest.fixture
def make(wide, tmp_path):
    """The song as FFmpeg writes it under a name, with its options."""

    def encode(name: str, *options: str, rate: int = 44_100):
        path = tmp_path / name
        subprocess.run(
            ["ffmpeg", "-v", "error", "-i", wide(rate), *options, path], check=True, timeout=60
        )
        return path

    return encode


def some(samples: int) -> list[int]:
    """The first, the last and two windows between, at odd places."""
    return [0, samples // 3 + 7, samples // 2 + 1, samples - WINDOW]


@pytest.mark.parametrize(
    ("name", "options", "rate"),
    [
        ("constant.mp3", ["-b:a", "192k"], 44_100),
        ("variable.mp3", ["-q:a", "4"], 48_000),
        ("joint.mp3", ["-b:a", "64k", "-joint_stereo", "1"], 44_100),
        ("reservoir.mp3", ["-b:a", "8k", "-ac", "1"], 22_050),  # a frame borrows from many
        ("song.flac", [], 44_100),
        ("deep.flac", ["-sample_fmt", "s32"], 96_000),
        ("song.aiff", [], 11_025),
        ("eight.wav", ["-c:a", "pcm_u8"], 8_000),
        ("three.wav", ["-c:a", "pcm_s24le"], 192_000),
        ("loud.wav", ["-c:a", "pcm_f32le"], 44_056),
        ("double.wav", ["-c:a", "pcm_f64le"], 16_000),
    ],
)
def test_excerpts_are_parts_of_the_whole(make, name, options, rate):
    path = make(name, *options, rate=rate)
    whole = load_audio(path)
    samples, starts, excerpts = read_excerpts(path, WINDOW, some)
    assert samples == len(whole) and starts == some(samples)
    for start, excerpt in zip(starts, excerpts, strict=True):
        np.testing.assert_allclose(excerpt, whole[start : start + WINDOW], rtol=0, atol=4e-6)


def test_wherever_a_window_begins_what_its_frames_borrow_is_heard(tmp_path):
    """At 8 kbit/s a frame of MP3 takes bytes out of up to 23 before it: noise, those of a tone."""
    song, path, rate = tmp_path / "song.wav", tmp_path / "song.mp3", 24_000
    time = np.arange(round(SECONDS * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 0.2, len(time)) * (time % 3 > 2.7)
    soundfile.write(song, 0.3 * np.sin(2 * np.pi * 440 * time) + noise, rate, "FLOAT")
    command = ["ffmpeg", "-v", "error", "-i", song, "-b:a", "8k", path]
    subprocess.run(command, check=True, timeout=60)
    whole, length = load_audio(path), 4000
    starts = list(range(10_000, len(whole) - length, 9973))
    _, _, excerpts = read_excerpts(path, length, lambda samples: starts)
    for start, excerpt in zip(starts, excerpts, strict=True):
        np.testing.assert_allclose(excerpt, whole[start : start + length], rtol=0, atol=4e-6)


def grow(content: bytes) -> bytes:
    return content + content


def cut(content: bytes) -> bytes:
    return content[: len(content) * 3 // 4]


@pytest.mark.parametrize(
    ("name", "options", "change"),
    [
        ("uncounted.mp3", ["-q:a", "4", "-write_xing", "0"], None),
        ("cut.mp3", ["-b:a", "128k"], cut),
        ("twice.mp3", ["-b:a", "128k"], grow),
        ("behind_zeros.mp3", ["-b:a", "128k"], lambda content: bytes(3000) + content),
        ("cut.flac", [], cut),
        ("twice.ogg", [], grow),  # a chain of two streams: the first tells its own length
        ("song.opus", [], None),
        ("song.m4a", [], None),
        ("compressed.wav", ["-c:a", "adpcm_ms"], None),
        ("around.wav", ["-ac", "6"], None),
    ],
)
def test_a_file_that_cannot_be_trusted_is_decoded_whole(make, name, options, change):
    path = make(name, *options)
    if change:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DecodeWhole):
        read_excerpts(path, WINDOW, some)
    limited = open_song(path, Cut(WINDOW, max_windows=3))
    assert limited.starts == Cut(WINDOW, max_windows=3).starts(limited.samples)
    assert [len(window) for window in limited.windows] == [WINDOW] * 3


def test_no_sound_is_not_sought(tmp_path):
    contents = {"empty.mp3": b"", "text.wav": b"no music", "song.raw": bytes(9999)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for path in (*map(tmp_path.joinpath, contents), tmp_path / "absent.mp3", tmp_path):
        with pytest.raises(DecodeWhole):
            read_excerpts(path, WINDOW, some)


def test_excerpts_of_most_of_a_song_or_too_many_for_memory_are_not_worth_it(make, monkeypatch):
    path = make("song.flac")
    with pytest.raises(DecodeWhole, match="are asked for"):
        read_excerpts(path, WINDOW, Cut(WINDOW).starts)
    assert read_excerpts(path, WINDOW, some)
    monkeypatch.setattr("genreast.inference.excerpts.STREAM_SECONDS", 10)
    with pytest.raises(DecodeWhole, match="are asked for"):
        read_excerpts(path, WINDOW, some)


def test_few_windows_of_a_song_are_decoded_alone(make, monkeypatch):
    path = make("song.mp3", "-b:a", "128k")
    few = Cut(WINDOW, hop=16_000, max_windows=4)
    whole = load_audio(path)
    monkeypatch.setattr(windows, "load_audio", None)
    monkeypatch.setattr(windows, "stream_audio", None)
    song = open_song(path, few)
    assert song.samples == len(whole) and song.starts == few.starts(len(whole))
    for start, window in zip(song.starts, song.windows, strict=True):
        np.testing.assert_allclose(window, whole[start : start + WINDOW], rtol=0, atol=4e-6)
    monkeypatch.setattr(audio, "SHORT_BYTES", 0)
    monkeypatch.setattr(audio, "STREAM_SECONDS", 20)  # also of a song too long to hold
    assert len(list(open_song(path, few).windows)) == 4


def test_a_name_that_is_not_unicode_is_sought_too(make, tmp_path):
    path = make("song.flac")
    odd = path.rename(tmp_path / "so\udcffng.flac")
    song = open_song(odd, Cut(WINDOW, max_windows=3))
    assert len(list(song.windows)) == 3
