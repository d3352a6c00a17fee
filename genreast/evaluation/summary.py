"""An evaluation in a few lines of text, for the terminal."""

from typing import Any

METRICS_FILE = "metrics.json"
SCORES = {  # key in metrics.json: how people read it
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "mean_average_precision": "mean average precision",
    "top_3_accuracy": "top-3 accuracy",
    "cohen_kappa": "Cohen's kappa",
    "log_loss": "log loss",
    "ece": "calibration error",
}


def unit_of(metrics: dict[str, Any]) -> str:
    """What an evaluation tells of: the song, or the clip where the dataset names no songs."""
    return metrics.get("unit", "song")


def counts(metrics: dict[str, Any]) -> str:
    """How much was measured, in words."""
    clips, songs = (metrics[level]["count"] for level in ("clip", "song"))
    return f"{clips} clips" + (f" of {songs} songs" if unit_of(metrics) == "song" else "")


def scores(metrics: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The main scores of clips, and of songs where there are any, with their 95 % intervals: the
    columns' names, and the rows. Three guesses at three genres are no score.
    """
    spans = metrics["confidence_intervals"]["song"]
    levels = ("clip", "song") if unit_of(metrics) == "song" else ("clip",)
    few = len(metrics["song"]["per_class"]) <= 3
    rows = [
        [name, *(number(metrics[level][key]) for level in levels), interval(spans.get(key))]
        for key, name in SCORES.items()
        if not (few and key == "top_3_accuracy")
    ]
    return ["", *(f"{level}s" for level in levels), f"95 % interval, {levels[-1]}s"], rows


def table(metrics: dict[str, Any]) -> str:
    """The main scores of an evaluation, and what is to be known of them."""
    genres = len(metrics["song"]["per_class"])
    lines = [f"{metrics['split']} split: {counts(metrics)}, {genres} genres"]
    header, rows = scores(metrics)
    for name, *numbers, span in [header, *rows]:
        lines.append(f"{name:<24}{''.join(f'{each:>8}' for each in numbers)}   {span}".rstrip())
    lines += about_intervals(metrics["confidence_intervals"]["song"])
    lines += _calibration(metrics["calibration"], unit_of(metrics))
    if metrics["unreadable"]:
        lines.append(f"clips that could not be read: {len(metrics['unreadable'])}")
    return "\n".join(lines)


def about_intervals(spans: dict[str, Any]) -> list[str]:
    """What intervals were drawn from, and what has none and why."""
    drawn = f"95 % intervals: bootstrap over {spans['groups']} groups"
    return [drawn, *spans["notes"]] if spans["resamples"] else spans["notes"]


def _calibration(found: dict[str, Any] | None, unit: str) -> list[str]:
    if not found:
        return []
    song = found["song"]
    if not song["after"]:
        return [f"no temperature for {unit}s: {song['reason']}"]
    return [
        f"temperature {song['temperature']:.2f}, fitted on validation, takes the {unit}s' "
        f"calibration error from {song['before']['ece']:.3f} to {song['after']['ece']:.3f}"
    ]


def interval(span: list[float] | None) -> str:
    """Two bounds of three digits each, or nothing."""
    return "" if span is None else f"{span[0]:.3f} to {span[1]:.3f}"


def number(value: float | None) -> str:
    """Three digits, or a dash for what is not defined."""
    return "–" if value is None else f"{value:.3f}"
