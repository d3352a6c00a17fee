"""The same recording is found however it was encoded; different recordings never are."""

import subprocess

import numpy as np
import pytest
import soundfile
from song_library import melody

from genreast.audio import SAMPLING_RATE, load_audio
from genreast.data.duplicates import (
    ENTRIES_AT_ONCE,
    FRAME_BITS,
    MOST_OFFSET,
    SLACK,
    SONG_BITS,
    bit_errors,
    candidates,
    connected,
    near_copies,
)
from genreast.data.fingerprint import SECONDS, fingerprint
from genreast.data.saved_prints import Fingerprint, SavedFingerprints

RATE = 44_100
COPIES = {
    "64 kbit/s": ["-b:a", "64k", "copy.mp3"],
    "mono": ["-ac", "1", "copy.flac"],
    "left": ["-af", "pan=mono|c0=c0", "copy.wav"],
    "right": ["-af", "pan=mono|c0=c1", "copy.wav"],
    "louder": ["-af", "volume=3dB", "copy.ogg"],
    "quieter": ["-af", "volume=-3dB", "copy.wav"],
    "22 kHz": ["-ar", "22050", "copy.wav"],
    "48 kHz opus": ["-ar", "48000", "copy.opus"],
    "later": ["-af", "adelay=480:all=1", "copy.wav"],
    "earlier": ["-ss", "0.5", "copy.wav"],
    "trimmed": ["-t", "14", "copy.mp3"],
    "all at once": ["-ss", "0.3", "-t", "15", "-af", "volume=-3dB", "-b:a", "64k", "copy.mp3"],
}


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """A stereo song of 20 s whose channels differ, and its fingerprint."""
    path = tmp_path_factory.mktemp("song") / "song.wav"
    both, left, right = (melody(seed, 20, RATE) for seed in (1, 2, 3))
    stereo = np.stack([both + 0.3 * left, both + 0.3 * right], axis=1)
    soundfile.write(path, 0.7 * stereo / np.abs(stereo).max(), RATE)
    return path, print_of(path)


def print_of(path) -> Fingerprint:
    return fingerprint(np.rint(load_audio(path) * 32767).astype(np.int16))


def groups(prints: list[Fingerprint]) -> list[int]:
    return connected(len(prints), [(match.first, match.second) for match in near_copies(prints)])


@pytest.mark.parametrize("change", COPIES)
def test_copies_are_found(song, tmp_path, change):
    path, original = song
    *options, name = COPIES[change]
    command = ["ffmpeg", "-v", "error", "-i", path, *options, tmp_path / name]
    subprocess.run(command, check=True)
    strangers = [fingerprint((melody(seed, 20) * 32767).astype(np.int16)) for seed in range(5, 9)]
    assert groups([original, *strangers, print_of(tmp_path / name)]) == [0, 1, 2, 3, 4, 0]


def test_silence_noise_and_short_sounds_match_nothing():
    random = np.random.default_rng(0)
    prints = [fingerprint(np.zeros(SAMPLING_RATE * 5, np.int16)) for _ in range(2)]
    prints += [
        fingerprint((random.standard_normal(SAMPLING_RATE * 5) * 3000).astype(np.int16))
        for _ in range(3)
    ]
    prints += [fingerprint((melody(seed, 0.1) * 9000).astype(np.int16)) for seed in range(3)]
    assert groups(prints) == list(range(len(prints)))
    assert near_copies([]) == []


def test_what_an_encoder_leaves_in_the_rests_of_a_song_hardly_changes_its_fingerprint():
    """Noise 60 dB below a song that rests in between."""
    tune = melody(1, 20) * (np.arange(20 * SAMPLING_RATE) % 64_000 < 40_000)
    noise = np.random.default_rng(0).normal(0, 1e-3 * tune.std(), len(tune))
    clean, noisy = (
        fingerprint(np.rint(sound * 32767).astype(np.int16)) for sound in (tune, tune + noise)
    )
    marks = [{*zip(one.keys.tolist(), one.frames.tolist(), strict=True)} for one in (clean, noisy)]
    assert len(marks[0] & marks[1]) > 0.7 * len(marks[0] | marks[1])
    assert (clean.audible == noisy.audible).mean() > 0.98 and not clean.audible.all()


def test_many_copies_of_one_recording_are_one_group():
    """A key pairs only with its neighbours in the index: longer chains must still join."""
    random = np.random.default_rng(1)
    tune = melody(4, 8)
    prints = [
        fingerprint(((tune + 0.003 * random.standard_normal(len(tune))) * 9000).astype(np.int16))
        for _ in range(30)
    ]
    assert set(groups(prints)) == {0}


def test_candidates_stay_few_in_a_large_library():
    """Random keys of 3,000 songs, looked through in parts: only the planted copies come up."""
    random = np.random.default_rng(2)
    prints = [
        Fingerprint(
            np.zeros(3000, np.uint32),
            np.ones(3000, bool),
            random.integers(0, 2**24, 600).astype(np.uint32),
            np.sort(random.integers(0, 3000, 600)).astype(np.uint16),
        )
        for _ in range(3000)
    ]
    prints += [prints[7], prints[2500]]
    assert sum(len(one.keys) for one in prints) > 10 * ENTRIES_AT_ONCE
    found = [(first, second) for first, second, _ in candidates(prints)]
    assert found == [(7, 3000), (2500, 3001)]


@pytest.mark.parametrize("entries", [1, 2, 3, 5, 97, 300, 357, 358, 359])
def test_candidates_do_not_depend_on_the_parts_they_are_looked_for_in(monkeypatch, entries):
    """Few keys, so that most entries have neighbours; 360 entries of 18 songs."""
    random = np.random.default_rng(3)
    frames = np.sort(random.integers(0, 300, (18, 20)), axis=1).astype(np.uint16)
    keys = random.integers(0, 12, (18, 20)).astype(np.uint32)
    nothing = np.zeros(0, np.uint32), np.zeros(0, bool)
    prints = [Fingerprint(*nothing, *one) for one in zip(keys, frames, strict=True)]
    monkeypatch.setattr("genreast.data.duplicates.LEAST_VOTES", 2)
    whole = list(candidates(prints))
    assert len(whole) > 20 and whole == sorted(whole)
    monkeypatch.setattr("genreast.data.duplicates.ENTRIES_AT_ONCE", entries)
    assert list(candidates(prints)) == whole


def test_an_entry_of_the_index_has_room_for_the_longest_song():
    noise = np.random.default_rng(4).standard_normal((SECONDS + 5) * SAMPLING_RATE) * 3000
    longest = fingerprint(noise.astype(np.int16))
    assert longest.frames.max() > 0.9 * len(longest.words)
    assert longest.frames.max() + MOST_OFFSET < 2**FRAME_BITS
    assert longest.keys.max() < 2 ** (64 - FRAME_BITS - SONG_BITS)


def test_copies_are_found_among_strangers_that_share_their_keys():
    """Between the two entries of each key stand those of three songs at no common offset."""
    random = np.random.default_rng(5)
    keys, frames = np.arange(10, dtype=np.uint32), 100 * np.arange(10)
    others = [frames + random.permutation(np.arange(1, 30))[:10] for _ in range(3)]
    prints = [
        Fingerprint(np.zeros(1000, np.uint32), np.ones(1000, bool), keys, one)
        for one in (frames, frames + 30, *others)
    ]
    [(first, second, offset)] = candidates(prints)
    assert (first, second) == (0, 1) and abs(offset - 30) <= SLACK


@pytest.mark.parametrize(("offset", "errors"), [(30, 0.0), (-30, 0.0), (50, 1.0), (-50, 1.0)])
def test_recordings_that_overlap_too_little_are_not_told_alike(offset, errors):
    """Of 100 frames, 70 or 50 are the same."""
    words = np.random.default_rng(0).integers(0, 2**32, 200).astype(np.uint32)
    starts = (max(offset, 0), max(-offset, 0))
    first, second = (
        Fingerprint(words[start : start + 100], np.ones(100, bool), words[:0], np.zeros(0))
        for start in starts
    )
    assert bit_errors(first, second, offset) == errors


@pytest.mark.parametrize("offset", range(-8, 9))
def test_votes_for_an_offset_may_differ_by_a_frame(offset):
    """Half of the landmarks agree on one offset, half on the next, wherever bins end."""
    keys = np.arange(4, dtype=np.uint32)
    frames = np.array([100, 200, 300, 400])
    nothing = np.zeros(500, np.uint32), np.ones(500, bool)
    moved = frames + offset + np.array([0, 0, 1, 1])
    copy = Fingerprint(*nothing, keys, moved)
    ((first, second, voted),) = candidates([Fingerprint(*nothing, keys, frames), copy])
    assert (first, second) == (0, 1) and abs(voted - offset) <= SLACK


def test_fingerprints_survive_the_disk(song, tmp_path):
    song[1].save(tmp_path / "print.npz")
    loaded, _ = SavedFingerprints([tmp_path / "print.npz"] * 2)
    for name in ("words", "audible", "keys", "frames"):
        assert np.array_equal(getattr(loaded, name), getattr(song[1], name))


def test_the_four_recordings_of_near_copies(shared_audio):
    paths = sorted((shared_audio / "near_copies").glob("*.ogg"))
    names = [path.name[:2].replace("07", "06") for path in paths]
    roots = groups([print_of(path) for path in paths])
    assert len(set(roots)) == 4
    assert len(set(zip(names, roots, strict=True))) == 4


def test_real_music_merges_nothing_without_reason(shared_audio):
    """The only match is two takes cut from one recording: their waveforms correlate."""
    alike = ("house", "latin_percussion", "trap")  # loops of one kit at one tempo
    paths = sorted(shared_audio.glob("esc10_mini/*/*"))
    paths += [
        path for name in alike for path in sorted((shared_audio / "waivops_mini" / name).glob("*"))
    ]
    sounds = {path: load_audio(path) for path in paths}
    prints = [fingerprint(np.rint(sound * 32767).astype(np.int16)) for sound in sounds.values()]
    for match in near_copies(prints):
        first, second = sounds[paths[match.first]], sounds[paths[match.second]]
        assert highest_correlation(first, second) > 0.4, (paths[match.first], paths[match.second])


def highest_correlation(first: np.ndarray, second: np.ndarray) -> float:
    size = len(first) + len(second)
    product = np.fft.irfft(np.fft.rfft(first, size) * np.conj(np.fft.rfft(second, size)), size)
    return float(np.abs(product).max() / np.sqrt((first**2).sum() * (second**2).sum()))
