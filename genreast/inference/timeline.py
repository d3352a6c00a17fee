"""A song's genres over time, above its log-mel picture."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from genreast import png
from genreast.audio import FRAME_LENGTH, FRAME_SHIFT, stream_audio
from genreast.features import log_mel
from genreast.inference.classifier import SongPrediction

OTHERS = "others"  # what the genres that are not shown are summed as


def save(prediction: SongPrediction, path: str) -> None:
    """Draw the timeline of a predicted song file into a PNG."""
    picture = log_mel_picture(stream_audio(prediction.song))
    name = Path(prediction.song).name.encode(errors="replace").decode()  # it need not be Unicode
    figure = draw(prediction, picture, title=name)
    png.write(png.to_bytes(figure), path)


def draw(
    prediction: SongPrediction, picture: np.ndarray, most_genres: int = 6, title: str = ""
) -> Figure:
    """Genre probabilities over a song's time above its log-mel picture (mel, columns).

    Shows the genres that reach the highest probability anywhere; the rest are summed as `others`.
    What no window heard is left blank. Each area is labelled with its genre.
    """
    windows = np.exp(prediction.log_probabilities)
    order = np.argsort(-windows.max(0), kind="stable")
    shown = order[:most_genres] if len(order) > most_genres + 1 else order
    shown = sorted(shown, key=lambda index: -windows[:, index].mean())
    layers = [windows[:, index] for index in shown]
    names = [prediction.labels[index] for index in shown]
    if len(shown) < len(order):
        layers.append(1 - np.sum(layers, axis=0))
        names.append(OTHERS)
    spans = _spans(prediction)
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    colours = [*matplotlib.colormaps["tab10"].colors[: len(shown)], "0.8"]
    # Between one window's span and the next stands NaN, which is not painted.
    stacked = np.full((len(layers) + 1, 2 * len(windows) - 1), np.nan)
    stacked[:, ::2] = np.vstack([np.zeros(len(windows)), np.cumsum(layers, axis=0)])
    areas = [
        above.stairs(top, spans.ravel(), baseline=bottom, fill=True, color=colour, label=name)
        for bottom, top, colour, name in zip(stacked, stacked[1:], colours, names, strict=False)
    ]
    above.set(ylim=(0, 1), ylabel="probability", title=title)
    above.legend(areas, names, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    low, high = np.percentile(picture, [2, 99.8])
    below.imshow(
        picture,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=low,
        vmax=high,
        interpolation="nearest",
        extent=(0, prediction.seconds, 0, picture.shape[0]),
    )
    below.set(xlim=(0, prediction.seconds), ylabel="mel band", xlabel="time")
    below.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10]))  # no 2.5 s
    short = prediction.seconds < 5  # its ticks stand less than a second apart
    below.xaxis.set_major_formatter(_seconds_label if short else _clock_label)
    return figure


def _spans(prediction: SongPrediction) -> np.ndarray:
    """From where to where each window's verdict stands, (windows, 2) in seconds: over what it
    heard, and where two overlap up to halfway between their centres."""
    first = np.array(prediction.starts, float)
    last = np.minimum(first + prediction.window_seconds, prediction.seconds)
    halfway = (first[1:] + first[:-1] + prediction.window_seconds) / 2
    first[1:] = np.maximum(first[1:], halfway)
    last[:-1] = np.minimum(last[:-1], halfway)
    return np.stack([first, last], axis=1)


def _seconds_label(seconds: float, _position=None) -> str:
    return f"{seconds:.3g} s"


def _clock_label(seconds: float, _position=None) -> str:
    hours, rest = divmod(round(seconds), 3600)
    clock = f"{rest // 60:02}:{rest % 60:02}"
    return f"{hours}:{clock}" if hours else clock.removeprefix("0")


def log_mel_picture(blocks: Iterable[np.ndarray], columns: int = 1200) -> np.ndarray:
    """Blocks of sound as one picture (mel, ≤ columns), each column the mean over its time.

    Of `stream_audio(song)`, ten hours need no more memory than a minute.
    """
    step = FRAME_SHIFT * 10  # 0.1 s a column at first
    parts = []
    for block in blocks:
        if len(block) < FRAME_LENGTH:
            continue
        frames = log_mel(torch.from_numpy(block.copy())[None], dtype=torch.float32)
        parts.append(_shrink(frames[0], max(1, len(block) // step)))
    picture = torch.cat(parts)
    return _shrink(picture, min(columns, len(picture))).T.numpy()


def _shrink(frames: torch.Tensor, length: int) -> torch.Tensor:
    """Mean-pool (frames, mel) to (length, mel)."""
    return torch.nn.functional.adaptive_avg_pool1d(frames.T[None], length)[0].T
