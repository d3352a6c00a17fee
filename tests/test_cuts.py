"""Where songs are cut: inside their skips, never none, and around silence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genreast.audio import SAMPLING_RATE
from genreast.data.cuts import CutSettings, clip_starts, read_parts, sounding_parts

lengths = st.integers(400, 400 * SAMPLING_RATE)


@given(
    lengths,
    st.sampled_from([5.0, 10.0, 30.0]),
    st.floats(0, 60),
    st.floats(0, 60),
    st.none() | st.integers(1, 8),
)
def test_clips_lie_inside_the_song_and_its_skips(samples, seconds, start, end, most):
    settings = CutSettings(seconds, start, end, most)
    starts = clip_starts(samples, settings)
    clip = round(seconds * SAMPLING_RATE)
    assert starts and starts == sorted(set(starts))
    assert most is None or len(starts) <= most
    assert all(at >= 0 and at + min(clip, samples) <= samples for at in starts)
    first, last = round(start * SAMPLING_RATE), samples - round(end * SAMPLING_RATE)
    if last - first >= clip:
        assert starts[0] >= first and starts[-1] + clip <= last
    else:
        assert len(starts) == 1


def test_a_song_too_short_for_its_skips_keeps_its_middle():
    settings = CutSettings(10, skip_start_seconds=50, skip_end_seconds=30)
    assert clip_starts(60 * SAMPLING_RATE, settings) == [25 * SAMPLING_RATE]
    assert clip_starts(4 * SAMPLING_RATE, settings) == [0]


def test_few_clips_are_spread_evenly():
    starts = clip_starts(100 * SAMPLING_RATE, CutSettings(10, max_clips_per_song=3))
    assert [start // SAMPLING_RATE for start in starts] == [10, 50, 80]
    assert clip_starts(90 * SAMPLING_RATE, CutSettings(10, max_clips_per_song=1)) == [
        40 * SAMPLING_RATE
    ]


def song_with_gaps(*seconds: float) -> np.ndarray:
    """Sound and silence in turn, each so many seconds, with every sample different."""
    parts = [
        np.full(round(length * SAMPLING_RATE), 0 if number % 2 else 1000, np.int16)
        for number, length in enumerate(seconds)
    ]
    return np.concatenate(parts)


def test_long_silence_goes_and_short_stays():
    samples = song_with_gaps(3, 4, 3, 1, 2)
    assert sounding_parts(samples, None) == [(0, len(samples))]
    seconds = [
        (first / SAMPLING_RATE, end / SAMPLING_RATE) for first, end in sounding_parts(samples, 2)
    ]
    assert seconds == [(0, 3), (7, 13)]


@pytest.mark.parametrize(("peak", "silent"), [(32, True), (33, False)])  # of 32,768, -60 dBFS
def test_silence_is_what_never_passes_60_dB_below_full_scale(peak, silent):
    samples = song_with_gaps(3, 4, 2)
    samples[samples == 0] = peak
    assert (len(sounding_parts(samples, 2)) == 2) == silent


@given(st.lists(st.floats(0.1, 3), min_size=1, max_size=7), st.floats(0, 2), st.data())
def test_reading_parts_equals_joining_them(gaps, longest, data):
    samples = song_with_gaps(*gaps)
    samples[:] = np.where(samples, np.arange(len(samples)) % 30_000 + 2000, 0)
    parts = sounding_parts(samples, longest)
    joined = np.concatenate([samples[first:end] for first, end in parts])
    ends = np.cumsum([end - first for first, end in parts])
    assert ends[-1] == len(joined)
    position = data.draw(st.integers(0, len(joined) - 1))
    length = data.draw(st.integers(1, len(joined)))
    expected = joined[position : position + length]
    assert np.array_equal(read_parts(samples, parts, ends, position, length), expected)
