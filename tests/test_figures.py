"""Figures are drawn at any number of genres, and the page holds all it shows."""

import io
import itertools
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scipy.special import softmax
from scipy.stats import spearmanr

from genreast import png
from genreast.evaluation import figures, report, scoring
from genreast.evaluation.scoring import Scored


def made(classes: int, count: int = 400) -> Scored:
    generator = np.random.default_rng(classes)
    labels = np.concatenate([np.arange(classes), generator.integers(0, classes, count - classes)])
    return Scored(
        names=[f"song-{row}" for row in range(count)],
        logits=generator.normal(size=(count, classes)) + 3 * np.eye(classes)[labels],
        labels=labels,
        groups=[str(row // 2) for row in range(count)],
        label_names=[f"genre <{index}>" for index in range(classes)],
        columns={"song_id": [f"song-{row}" for row in range(count)]},
    )


@pytest.fixture(scope="module", params=[2, 15, 50])
def measured(request):
    songs = made(request.param)
    metrics = scoring.measure(songs, songs, "log_probability")
    scaled = {"temperature": 1.4}
    metrics |= {"calibration": {"clip": scaled, "song": scaled}, "split": "test"}
    shares = {name: (1 + index) / 1275 for index, name in enumerate(songs.label_names)}
    return metrics, songs, figures.draw_all(metrics, songs, songs, shares)


def test_matrix_shows_every_count_once_in_its_cell(measured):
    _, songs, drawn = measured
    for name, scale in (("confusion_matrix", None), ("confusion_matrix_normalised", 100)):
        axes = drawn[name].axes[0]
        shown = {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}
        expected = {}
        for label, prediction in zip(songs.labels, songs.predictions, strict=True):
            cell = (prediction, label)
            expected[cell] = expected.get(cell, 0) + 1
        support = np.bincount(songs.labels)
        if scale:
            expected = {cell: round(100 * n / support[cell[1]]) for cell, n in expected.items()}
        assert {cell: int(text) for cell, text in shown.items()} == expected


def test_text_of_a_matrix_fits_its_cell_and_no_label_runs_into_the_next(measured):
    figure = measured[2]["confusion_matrix_normalised"]
    figure.draw_without_rendering()
    axes = figure.axes[0]
    cell = axes.transData.transform([(1, 0), (0, 0)])
    width = abs(cell[0][0] - cell[1][0])
    assert max(text.get_window_extent().width for text in axes.texts) < width
    for tick in axes.get_yticklabels():
        assert tick.get_window_extent().height < width * 1.05


def test_reliability_points_are_the_means_of_their_bins(measured):
    _, songs, drawn = measured
    confidence, accuracy = drawn["reliability"].axes[0].lines[1].get_data()
    confidences = songs.probabilities.max(1)
    right = songs.predictions == songs.labels
    top = confidences > np.floor(15 * confidences.max()) / 15
    assert confidence[-1] == pytest.approx(confidences[top].mean())
    assert accuracy[-1] == pytest.approx(right[top].mean())


def test_the_line_of_a_temperature_is_of_the_logits_divided_by_it(measured):
    _, songs, drawn = measured
    line = drawn["reliability"].axes[0].lines[2]
    confidences = softmax(songs.logits / 1.4, axis=1).max(1)
    top = confidences > np.floor(15 * confidences.max()) / 15
    assert line.get_xdata()[-1] == pytest.approx(confidences[top].mean())


def test_the_songs_beside_a_genre_are_those_that_are_of_it(measured):
    _, songs, drawn = measured
    support, answers = np.bincount(songs.labels), np.bincount(songs.predictions)
    assert (support != answers).any(), "else the answers' counts would pass too"
    for name in ("confusion_matrix", "confusion_matrix_normalised"):
        beside = [text.get_text() for text in drawn[name].axes[0].get_yticklabels()]
        expected = zip(songs.label_names, support, strict=True)
        assert beside == [f"{genre} ({count})" for genre, count in expected]


@pytest.mark.parametrize(("seed", "pairs"), [(0, 3), (1, 5), (2, 6), (3, 40)])
def test_rank_correlation_is_spearmans_and_its_p_the_share_of_orders_as_far(seed, pairs):
    x, y = np.random.default_rng(seed).integers(0, 30, (2, pairs)).astype(float)
    y += x / 2
    correlation, p_value = figures.rank_correlation(x, y)
    assert correlation == pytest.approx(spearmanr(x, y).statistic)
    if pairs > 7:
        assert p_value == pytest.approx(spearmanr(x, y).pvalue, abs=0.02)
        return
    others = np.array([spearmanr(x, other).statistic for other in itertools.permutations(y)])
    tail = min(np.mean(others >= correlation - 1e-9), np.mean(others <= correlation + 1e-9))
    assert p_value == pytest.approx(min(1, 2 * tail))


def test_three_genres_in_order_are_no_certainty():
    per_class = {name: {"support": 9, "f1": f1} for name, f1 in (("a", 0.5), ("b", 0.6), ("c", 1))}
    drawn = figures.f1_against_share(per_class, {}, {"a": 0.1, "b": 0.3, "c": 0.6})
    assert drawn.axes[0].get_title() == "rank correlation of share and F1: +1.00 (p = 0.33)"
    spans = {"a": {"f1": [0.4, 0.7]}, "b": {"f1": None}}
    drawn = figures.f1_against_share(per_class, spans, {"a": 0.1, "b": 0.3, "c": 0.6})
    assert drawn.axes[0].get_title().endswith("(p = 0.33); bars: 95 % intervals")


def test_f1_is_drawn_against_the_share(measured):
    metrics, songs, drawn = measured
    points = drawn["f1_against_share"].axes[0].collections[1].get_offsets()
    for (share, f1), name in zip(points, songs.label_names, strict=True):
        assert share == pytest.approx((1 + songs.label_names.index(name)) / 1275)
        assert f1 == pytest.approx(metrics["song"]["per_class"][name]["f1"])


def test_names_stand_beside_their_points_and_none_atop_another(measured):
    figure = measured[2]["f1_against_share"]
    figure.draw_without_rendering()
    names = figure.axes[0].texts
    assert len(names) >= min(len(measured[1].label_names), 8)
    boxes = [name.get_window_extent() for name in names]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])


LONG = "traditional Appalachian old-time string band music of the 1920s"


@pytest.mark.parametrize("count", [3, 15, 50])
def test_long_and_wide_names_stand_within_the_axes_and_on_nothing(count):
    kinds = ["日本のロックとポップスの歴史", LONG, "jazz", "한국 실험 음악", "neue deutsche welle"]
    names = [f"{kinds[index % 5]} {index}" for index in range(count)]
    random = np.random.default_rng(count)
    per_class = {name: {"support": 9, "f1": random.random()} for name in names}
    shares = dict(zip(names, random.dirichlet(np.ones(count)), strict=True))
    figure = figures.f1_against_share(per_class, {}, shares)
    png.to_bytes(figure, dpi=100)
    axes = figure.axes[0]
    boxes = [name.get_window_extent() for name in axes.texts]
    assert len(boxes) >= min(count, 8)
    dots = axes.transData.transform([(shares[name], per_class[name]["f1"]) for name in names])
    for number, box in enumerate(boxes):
        assert axes.bbox.count_contains(box.get_points()) == 2
        assert not box.count_overlaps(boxes[:number]) and not box.count_contains(dots)


def test_a_matrix_is_not_pushed_aside_by_a_long_name():
    names = ["rock", LONG, "日本のロックとポップスの歴史と未来の音楽"]
    figure = figures.confusion_matrix(np.arange(3), np.arange(3), names)
    png.to_bytes(figure, dpi=40)
    axes = figure.axes[0]
    assert axes.bbox.width > 0.3 * figure.bbox.width
    shown = [text.get_text() for text in axes.get_xticklabels()]
    assert shown[:2] == ["rock", "traditional Appalach…the 1920s"] and "…" in shown[2]


@pytest.mark.parametrize(
    ("name", "short"),
    [("a" * 12, "a" * 12), ("a" * 8 + "b" * 8, "aaaaaaaa…bbb"), ("你好" * 4, "你好你好…好")],
)
def test_a_name_is_shortened_to_as_many_letters_a_wide_one_counting_twice(name, short):
    assert figures.shortened(name, 12) == short


def test_a_long_name_far_away_takes_no_name_from_the_others():
    per_class = {f"g{index}": {"support": 9, "f1": 0.5} for index in range(12)}
    shares = {name: 1.5**index for index, name in enumerate(per_class)}
    drawn = figures.f1_against_share(per_class, {}, shares)
    assert len(drawn.axes[0].texts) == 12
    long = "x" * 60
    per_class[long] = {"support": 9, "f1": 0.9}
    drawn = figures.f1_against_share(per_class, {}, shares | {long: 1.5**12})
    assert len(drawn.axes[0].texts) == 13


@pytest.mark.parametrize("shares", [None, {"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 0.0}])
def test_shares_that_are_all_equal_make_no_figure_nor_a_place_for_one(shares, tmp_path):
    songs = made(2)
    songs.label_names[:] = ["a", "b"]
    metrics = scoring.measure(songs, songs, "log_probability") | {"calibration": None}
    drawn = figures.draw_all(metrics, songs, songs, shares)
    assert list(drawn) == ["confusion_matrix", "confusion_matrix_normalised", "reliability"]

    metrics |= {"model": "m", "dataset": "d", "split": "test", "pooling": "log_probability"}
    metrics["model_fingerprint"] = "0" * 64
    images = {name: png.to_bytes(figure, dpi=40) for name, figure in drawn.items()}
    report.write(tmp_path, metrics, songs, images, {}, lambda _: None)
    assert "Does rarity hurt?" not in (tmp_path / "report.html").read_text()


def test_page_is_whole_and_safe(measured, tmp_path):
    metrics, songs, drawn = measured
    metrics = metrics | {
        "model": "models/<b>mine",
        "dataset": "data",
        "model_fingerprint": "0" * 64,
        "pooling": "log_probability",
    }
    images = {name: png.to_bytes(figure, dpi=40) for name, figure in drawn.items()}
    names = {"song-1": "jazz/<script>alert(1)</script>.mp3"}
    seen = []

    def picture(song_id):
        seen.append(song_id)
        return np.random.default_rng(0).normal(size=(128, 200))

    report.write(tmp_path, metrics, songs, images, names, picture)
    html = (tmp_path / "report.html").read_text()
    assert "<script" not in html and "<b>mine" not in html and "genre &lt;0&gt;" in html
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', html)
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)
    assert len(sources) == len(images) + len(seen)
    dense = 2 if len(songs.label_names) == 50 else 0
    assert html.count("<img class=dense ") == dense, "small letters are not shrunk"
    rows = report.confident_mistakes(songs)
    assert [songs.names[row] for row in rows] == seen
    assert all(songs.labels[row] != songs.predictions[row] for row in rows)
    confidence = [songs.probabilities[row].max() for row in rows]
    assert confidence == sorted(confidence, reverse=True)


def test_a_name_with_dollars_is_no_formula():
    figure = Figure()
    figure.subplots().set(title="A$AP – $100^{", xlabel="Ke$ha")
    assert Image.open(io.BytesIO(png.to_bytes(figure))).format == "PNG"


def test_letters_that_no_font_has_are_told_in_a_line(recwarn, capsys):
    figure = Figure()
    figure.subplots().set(title="\U000f0000")  # for private use: no font has it
    png.to_bytes(figure)
    png.to_bytes(figure)
    assert not recwarn.list
    assert capsys.readouterr().err.count("\n") <= 1
