"""Figures: confusion matrices and a song's timeline, as PNG files."""

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from genreast.inference import SongPrediction

matplotlib.rcParams["font.family"] = "DejaVu Sans"
DPI = 150


def save(figure: Figure, path: str | Path) -> None:
    """Write a PNG; a reader never sees half of it."""
    part = Path(f"{path}.part")
    figure.savefig(part, dpi=DPI, format="png")
    os.replace(part, path)


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, label_names: Sequence[str], unit: str = "songs"
) -> Figure:
    """Rows are the true genres, columns the predicted; colour is the share of the row, numbers
    are counts. `labels` and `predictions` are class ids (n,)."""
    classes = len(label_names)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predictions), 1)
    return _matrix(counts, [[str(count) for count in row] for row in counts], label_names, unit)


def confusion_matrix_normalised(
    labels: np.ndarray, predictions: np.ndarray, label_names: Sequence[str], unit: str = "songs"
) -> Figure:
    """As `confusion_matrix`, with each row's shares in percent for numbers."""
    classes = len(label_names)
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (labels, predictions), 1)
    percent = np.rint(100 * _row_shares(counts)).astype(int)
    return _matrix(counts, [[str(share) for share in row] for row in percent], label_names, unit)


def _row_shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def _matrix(
    counts: np.ndarray, texts: list[list[str]], label_names: Sequence[str], unit: str
) -> Figure:
    classes = len(label_names)
    cell = 0.5 if classes <= 20 else 0.28  # inches
    font = 9 if classes <= 20 else 6.5
    longest = max(map(len, label_names))
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
            texts[row][column],
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


def timeline(
    prediction: SongPrediction, log_mel: np.ndarray, most_genres: int = 6, title: str = ""
) -> Figure:
    """Genre probabilities over a song's time above its log-mel picture (mel, columns).

    Shows the genres that reach the highest probability anywhere; the rest are summed as `others`.
    """
    windows = np.exp(prediction.log_probabilities)
    order = np.argsort(-windows.max(0), kind="stable")
    shown = order[:most_genres] if len(order) > most_genres + 1 else order
    shown = sorted(shown, key=lambda index: -windows[:, index].mean())
    layers = [windows[:, index] for index in shown]
    names = [prediction.labels[index] for index in shown]
    if len(shown) < len(order):
        layers.append(1 - np.sum(layers, axis=0))
        names.append("others")
    edges = _edges(prediction)
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    colours = [*matplotlib.colormaps["tab10"].colors[: len(shown)], "0.8"]
    stacked = np.vstack([np.zeros(len(windows)), np.cumsum(layers, axis=0)])
    for index, name in enumerate(names):
        above.stairs(
            stacked[index + 1],
            edges,
            baseline=stacked[index],
            fill=True,
            color=colours[index],
            label=name,
        )
    above.set(ylim=(0, 1), ylabel="probability", title=title)
    above.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    low, high = np.percentile(log_mel, [2, 99.8])
    below.imshow(
        log_mel,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=low,
        vmax=high,
        interpolation="nearest",
        extent=(0, prediction.seconds, 0, log_mel.shape[0]),
    )
    below.set(xlim=(0, prediction.seconds), ylabel="mel band", xlabel="time")
    below.xaxis.set_major_formatter(_clock_label)
    return figure


def _edges(prediction: SongPrediction) -> np.ndarray:
    """Where one window's verdict gives way to the next: halfway between their centres."""
    centres = np.array(prediction.starts) + prediction.window_seconds / 2
    halfway = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[0.0], halfway, [prediction.seconds]])


def _clock_label(seconds: float, _position=None) -> str:
    hours, rest = divmod(round(seconds), 3600)
    clock = f"{rest // 60:02}:{rest % 60:02}"
    return f"{hours}:{clock}" if hours else clock.removeprefix("0")


def save_all(folder: str | Path, metrics: dict, clips, songs) -> None:
    """Every figure of an evaluation into its folder."""
    names = songs.label_names
    drawn = {
        "confusion_matrix": confusion_matrix(songs.labels, songs.predictions, names),
        "confusion_matrix_normalised": confusion_matrix_normalised(
            songs.labels, songs.predictions, names
        ),
    }
    for name, figure in drawn.items():
        save(figure, Path(folder) / f"{name}.png")
