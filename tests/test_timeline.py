"""A timeline paints what was heard, when it was heard."""

import numpy as np
import pytest
from PIL import Image

from genreast import png
from genreast.inference import SongPrediction, timeline


def predicted(genres: int, seconds: float) -> SongPrediction:
    """A song's prediction in windows of 10 s, of made-up probabilities."""
    starts = [*range(0, max(1, int(seconds) - 10), 10), max(0, int(seconds) - 10)]
    probabilities = np.random.default_rng(0).dirichlet(np.ones(genres), len(starts))
    return SongPrediction(
        song="song.mp3",
        labels=[f"genre {index}" for index in range(genres)],
        seconds=seconds,
        starts=starts,
        log_probabilities=np.log(probabilities),
    )


def test_timeline_stacks_to_one_and_names_the_rest_others(tmp_path):
    figure = timeline.draw(predicted(12, 47.0), np.random.default_rng(0).normal(size=(128, 300)))
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len(names) == 7 and names[-1] == "others"
    top = figure.axes[0].patches[-1].get_data()
    assert top.values[::2] == pytest.approx(np.ones(5))
    assert top.edges == pytest.approx([0, 10, 10, 20, 20, 30, 30, 38.5, 38.5, 47])
    assert figure.axes[1].images[0].get_extent()[:2] == pytest.approx((0, 47)), "under its time"
    png.write(png.to_bytes(figure), tmp_path / "timeline.png")
    assert Image.open(tmp_path / "timeline.png").format == "PNG"


@pytest.mark.parametrize(
    ("seconds", "starts", "spans"),
    [
        (34.0, [0, 10, 20], [(0, 30)]),  # no window heard the end
        (152.0, [20, 70, 120], [(20, 30), (70, 80), (120, 130)]),
        (21.0, [0, 5, 11], [(0, 21)]),
        (3.7, [0], [(0, 3.7)]),
    ],
)
def test_only_what_was_heard_is_painted(seconds, starts, spans):
    song = predicted(3, seconds)
    song.starts = starts
    song.log_probabilities = np.log(np.full((len(starts), 3), 1 / 3))
    figure = timeline.draw(song, np.zeros((128, 300)))
    times = np.arange(0.05, seconds, 0.1)
    heard = [any(first < time < last for first, last in spans) for time in times]
    for layer, area in enumerate(figure.axes[0].patches):
        points = np.stack([times, np.full(len(times), (layer + 0.5) / 3)], 1)
        assert area.get_path().contains_points(points).tolist() == heard


def test_a_genre_of_one_moment_is_shown_above_those_of_the_whole_song():
    song = predicted(10, 100.0)
    steady = np.tile([*range(9, 0, -1), 0.0], (len(song.starts), 1)) / 45
    steady[4] = [*steady[4, :9] / 2, 0.5]
    song.log_probabilities = np.log(np.maximum(steady, 1e-9))
    figure = timeline.draw(song, np.zeros((128, 300)))
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == [*(f"genre {index}" for index in range(5)), "genre 9", "others"]


@pytest.mark.parametrize(
    ("genres", "shown", "others"), [(6, 6, False), (7, 7, False), (8, 7, True)]
)
def test_a_single_genre_is_never_called_others(genres, shown, others):
    figure = timeline.draw(predicted(genres, 47.0), np.zeros((128, 300)))
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len(names) == shown
    assert ("others" in names) == others


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (0.8, ["0 s", "0.1 s", "0.2 s"]),
        (3.7, ["0 s", "0.5 s", "1 s"]),
        (5.0, ["0:00", "0:01", "0:02"]),
        (21.0, ["0:00", "0:05", "0:10"]),
        (400.0, ["0:00", "0:50", "1:40"]),
        (4000.0, ["0:00", "8:20", "16:40"]),
    ],
)
def test_the_time_of_a_tick_is_where_it_stands(seconds, labels):
    figure = timeline.draw(predicted(3, seconds), np.zeros((128, 300)))
    figure.draw_without_rendering()
    ticks = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert ticks[:3] == labels and len(set(ticks)) == len(ticks)


def test_picture_of_sound_is_bounded_whatever_its_length():
    sound = np.random.default_rng(0).normal(0, 0.1, 16_000 * 90).astype(np.float32)
    blocks = np.split(sound, [16_000 * 60])
    assert timeline.log_mel_picture(blocks, columns=500).shape == (128, 500)
    assert timeline.log_mel_picture([sound[:16_000]], columns=500).shape == (128, 10)
    ended = [*blocks, sound[:300]]  # the end of a stream may be shorter than a frame
    assert np.array_equal(timeline.log_mel_picture(ended), timeline.log_mel_picture(blocks))


def test_neither_a_bang_nor_a_gap_takes_the_colours_from_the_music():
    picture = np.random.default_rng(0).normal(size=(128, 1000))
    struck = picture.copy()
    struck[:, 0], struck[:, 500:510] = 99, -99
    plain, other = (
        timeline.draw(predicted(3, 47.0), each).axes[1].images[0].get_clim()
        for each in (picture, struck)
    )
    assert other == pytest.approx(plain, abs=0.5)
