"""The figures of an evaluation, drawn with Matplotlib for a file or a page."""

import itertools
from collections.abc import Sequence
from unicodedata import east_asian_width

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from matplotlib.transforms import Bbox
from scipy.special import softmax
from scipy.stats import permutation_test, rankdata
from sklearn import metrics as sklearn_metrics

from genreast import png
from genreast.evaluation import summary
from genreast.evaluation.bootstrap import LEVEL
from genreast.evaluation.scoring import Scored
from genreast.metrics import CALIBRATION_BINS, confidence_bins

PERMUTATIONS = 5040  # 7!
MOST_NAMED = 20  # points of a plot
LONGEST_NAME = 30  # letters
ROOMY = 20  # genres up to which a matrix has large cells and letters


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, label_names: Sequence[str], unit: str = "songs"
) -> Figure:
    """Rows are the true genres, columns the predicted; colour is the share of the row, numbers
    are counts. `labels` and `predictions` are class ids (n,)."""
    counts = _counts(labels, predictions, label_names)
    return _matrix(counts, counts, label_names, unit)


def confusion_matrix_normalised(
    labels: np.ndarray, predictions: np.ndarray, label_names: Sequence[str], unit: str = "songs"
) -> Figure:
    """As `confusion_matrix`, with each row's shares in percent for numbers."""
    counts = _counts(labels, predictions, label_names)
    percent = np.rint(100 * _row_shares(counts)).astype(int)
    return _matrix(counts, percent, label_names, unit)


def _counts(labels: np.ndarray, predictions: np.ndarray, label_names: Sequence[str]) -> np.ndarray:
    classes = np.arange(len(label_names))
    return sklearn_metrics.confusion_matrix(labels, predictions, labels=classes)


def _row_shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def _matrix(counts: np.ndarray, shown: np.ndarray, label_names: Sequence[str], unit: str) -> Figure:
    classes = len(label_names)
    cell = 0.5 if classes <= ROOMY else 0.28  # inches
    font = 9 if classes <= ROOMY else 6.5
    label_names = [shortened(name) for name in label_names]
    longest = max(map(_letters, label_names))
    margin = 0.9 + longest * font * 0.6 / 72
    side = max(2.5, cell * classes)
    figure = Figure(figsize=(side + margin + 0.7, side + margin + 0.5), layout="constrained")
    axes = figure.subplots()
    shares = _row_shares(counts)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(
            column,
            row,
            str(shown[row, column]),
            ha="center",
            va="center",
            fontsize=font,
            color="white" if shares[row, column] > 0.55 else "black",
        )
    ticks = np.arange(classes)
    support = [f"{name} ({count})" for name, count in zip(label_names, counts.sum(1), strict=True)]
    axes.set_xticks(ticks, label_names, rotation=90, fontsize=font)
    axes.set_yticks(ticks, support, fontsize=font)
    axes.set_xticks(ticks[:-1] + 0.5, minor=True)
    axes.set_yticks(ticks[:-1] + 0.5, minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    axes.set(xlabel="predicted genre", ylabel=f"true genre (its {unit})")
    colour_bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02)
    colour_bar.set_label(f"share of the true genre's {unit}", fontsize=font)
    colour_bar.ax.tick_params(labelsize=font)
    return figure


def f1_against_share(
    per_class: dict[str, dict],
    spans: dict[str, dict],
    shares: dict[str, float],
    unit: str = "songs",
) -> Figure:
    """Does rarity hurt? Each genre's F1, with its interval, against its share of training songs.

    `per_class` and `spans` are metrics.json's, `shares` add up to 1 and are not all equal.
    """
    names = [name for name in per_class if per_class[name]["support"] and shares.get(name)]
    x = np.array([shares[name] for name in names])
    y = np.array([per_class[name]["f1"] for name in names])
    edges = [spans.get(name, {}).get("f1") or [f1, f1] for name, f1 in zip(names, y, strict=True)]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    low, high = np.array(edges).T.clip(0, 1)
    axes.vlines(x, np.minimum(low, y), np.maximum(high, y), color="tab:blue", alpha=0.35)
    axes.scatter(x, y, color="tab:blue", zorder=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12)
    axes.set(ylim=(-0.03, 1.05), xlabel=f"share of the training {unit}", ylabel=f"F1 on {unit}")
    bars = [f"bars: {100 * LEVEL:g} % intervals"] if (low < high).any() else []
    axes.set_title("; ".join([*_rarity(x, y), *bars]), fontsize=10)
    axes.grid(alpha=0.3)
    with png.boxes_told_of():
        _name_points(axes, x, y, names)
    return figure


def _name_points(axes: Axes, x: np.ndarray, y: np.ndarray, names: Sequence[str]) -> None:
    """Write names beside points: of the worst, the rarest and the most common first.

    A name stands within the axes, on no other name and no point; one without room is left out.
    What the axes hold besides must stand, for its place is measured.
    """
    png.set_fonts(axes.figure)
    axes.figure.draw_without_rendering()
    places = axes.transData.transform(np.column_stack([x, y]))
    taken = [Bbox([place, place]).padded(4) for place in places]
    order = [*np.argsort(y)[:6], *np.argsort(x)[:3], *np.argsort(-x)[:3], *np.argsort(y)]
    for index in dict.fromkeys(map(int, order)):
        if len(axes.texts) == MOST_NAMED:
            return
        name = axes.annotate(
            shortened(names[index]),
            (x[index], y[index]),
            (0, 0),
            textcoords="offset points",
            fontsize=7.5,
        )
        png.set_fonts(name)
        for across, above in itertools.product((5, -5), (4, -4)):  # in points, from the dot
            name.set(position=(across, above), ha="left" if across > 0 else "right")
            name.set(va="bottom" if above > 0 else "top")
            box = name.get_window_extent().padded(2)
            if axes.bbox.count_contains(box.get_points()) == 2 and not box.count_overlaps(taken):
                taken.append(box)
                break
        else:
            name.remove()


def shortened(name: str, most: int = LONGEST_NAME) -> str:
    """A name as a figure bears it: of a long one the beginning and the end."""
    if _letters(name) <= most:
        return name
    head, tail = name, name
    while _letters(head) > 2 * most // 3:
        head = head[:-1]
    while _letters(tail) > most // 3 - 1:
        tail = tail[1:]
    return f"{head.rstrip()}…{tail.lstrip()}"


def _letters(name: str) -> int:
    """How many Latin letters a name is as wide as: a Chinese one counts twice."""
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in name)


def _rarity(shares: np.ndarray, f1: np.ndarray) -> list[str]:
    if len(shares) < 3 or len(set(shares)) < 2 or len(set(f1)) < 2:
        return []
    correlation, p_value = rank_correlation(shares, f1)
    p_value = f"p = {p_value:.2g}" if p_value >= 0.001 else "p < 0.001"
    return [f"rank correlation of share and F1: {correlation:+.2f} ({p_value})"]


def rank_correlation(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Spearman's rank correlation of x and y (n,), and its two-sided p by permutation.

    p is exact up to seven pairs; of the orders of more, as many as seven have are drawn. The usual
    approximation by Student's t calls three pairs in order certain.
    """
    ranks = [(rank - rank.mean()) / rank.std() for rank in (rankdata(x), rankdata(y))]
    found = permutation_test(
        [ranks[1]],
        lambda order, axis: np.mean(ranks[0] * order, axis=axis),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        rng=0,
    )
    return float(found.statistic), float(found.pvalue)


def reliability(scored: dict[str, Scored], temperatures: dict[str, float]) -> Figure:
    """Accuracy against confidence, a panel for clips and one for songs, over a histogram.

    A point's area grows with what its bin holds. `scored` and `temperatures` are keyed by what a
    panel shows; one without a temperature shows the model as it is.
    """
    figure = Figure(figsize=(4.4 * len(scored), 5), layout="constrained")
    panels = figure.subplots(2, len(scored), height_ratios=[3, 1], squeeze=False, sharex=True)
    for column, (unit, each) in enumerate(scored.items()):
        above, below = panels[:, column]
        above.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
        lines = {"as trained": 1.0}
        if unit in temperatures:
            lines[f"temperature {temperatures[unit]:.2f}"] = temperatures[unit]
        for style, (name, temperature) in zip(("o-", "s:"), lines.items(), strict=False):
            confidence, accuracy, share = _reliability_line(each, temperature)
            (line,) = above.plot(confidence, accuracy, style[1:], linewidth=1, alpha=0.5)
            above.scatter(
                confidence,
                accuracy,
                s=8 + 150 * share,  # a bin of one song is a dot, for it says little
                marker=style[0],
                color=line.get_color(),
                label=name,
                zorder=3,
                clip_on=False,  # else a large dot near 1 is cut
            )
        above.set(xlim=(0, 1), ylim=(-0.04, 1.04), title=unit)
        above.grid(alpha=0.3)
        for handle in above.legend(loc="best", fontsize=8).legend_handles:
            handle.set_sizes([25])
        edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
        below.hist(each.probabilities.max(1), bins=edges, color="tab:blue", alpha=0.6)
        below.set(xlabel="confidence")
    panels[0, 0].set_ylabel("accuracy")
    panels[1, 0].set_ylabel("count")
    return figure


def _reliability_line(scored: Scored, temperature: float) -> tuple[np.ndarray, ...]:
    """Mean confidence, accuracy and share of all of the bins that hold anything."""
    confidences = softmax(scored.logits / temperature, axis=1).max(1)
    bins = confidence_bins(confidences)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    filled = counts > 0
    correct = np.bincount(bins, scored.predictions == scored.labels, CALIBRATION_BINS)
    total = np.bincount(bins, confidences, CALIBRATION_BINS)
    counts = counts[filled]
    return total[filled] / counts, correct[filled] / counts, counts / counts.sum()


def draw_all(metrics: dict, clips: Scored, songs: Scored, shares: dict[str, float] | None) -> dict:
    """Every figure of an evaluation by its file's name; `shares` are of the training songs."""
    unit = f"{summary.unit_of(metrics)}s"
    matrix = (songs.labels, songs.predictions, songs.label_names, unit)
    drawn = {
        "confusion_matrix": confusion_matrix(*matrix),
        "confusion_matrix_normalised": confusion_matrix_normalised(*matrix),
    }
    per_class = metrics["song"]["per_class"]
    drawn_shares = {share for name, share in (shares or {}).items() if per_class[name]["support"]}
    if len(drawn_shares - {0}) > 1:  # no genre is rarer than another in a balanced set
        spans = metrics["confidence_intervals"]["song"].get("per_class", {})
        drawn["f1_against_share"] = f1_against_share(per_class, spans, shares, unit)
    found = metrics["calibration"]
    temperatures = {
        f"{level}s": found[level]["temperature"]
        for level in ("clip", "song")
        if found and found[level]["temperature"]
    }
    scored = {"clips": clips, "songs": songs} if unit == "songs" else {"clips": clips}
    drawn["reliability"] = reliability(scored, temperatures)
    return drawn
