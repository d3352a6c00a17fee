"""An evaluation in a few lines of text, for the terminal."""

from typing import Any, NamedTuple

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


class Row(NamedTuple):
    """One score as text: its name, clips, songs, and the songs' 95 % interval."""

    name: str
    clips: str
    songs: str
    interval: str


def rows(metrics: dict[str, Any]) -> list[Row]:
    """The main scores of an evaluation; three guesses at three genres are no score."""
    spans = metrics["confidence_intervals"]["song"]
    few = len(metrics["song"]["per_class"]) <= 3
    return [
        Row(
            name,
            number(metrics["clip"][key]),
            number(metrics["song"][key]),
            interval(spans.get(key)),
        )
        for key, name in SCORES.items()
        if not (few and key == "top_3_accuracy")
    ]


def table(metrics: dict[str, Any], label_names: list[str]) -> str:
    """The main scores of clips and songs, with the songs' 95 % intervals."""
    clip, song = metrics["clip"], metrics["song"]
    lines = [
        f"{metrics['split']} split: {clip['count']} clips of {song['count']} songs, "
        f"{len(label_names)} genres",
        f"{'':<24}{'clips':>8}{'songs':>8}   95 % interval, songs",
    ]
    for row in rows(metrics):
        line = f"{row.name:<24}{row.clips:>8}{row.songs:>8}   {row.interval}"
        lines.append(line.rstrip())
    lines += about_intervals(metrics["confidence_intervals"]["song"])
    lines += _calibration(metrics["calibration"])
    if metrics["unreadable"]:
        lines.append(f"clips that could not be read: {len(metrics['unreadable'])}")
    return "\n".join(lines)


def about_intervals(spans: dict[str, Any]) -> list[str]:
    """What intervals were drawn from, and what has none and why."""
    drawn = f"95 % intervals: bootstrap over {spans['groups']} groups"
    return [drawn, *spans["notes"]] if spans["resamples"] else spans["notes"]


def _calibration(found: dict[str, Any] | None) -> list[str]:
    if not found:
        return []
    song = found["song"]
    if not song["after"]:
        return [f"no temperature for songs: {song['reason']}"]
    return [
        f"temperature {song['temperature']:.2f}, fitted on validation, takes the songs' "
        f"calibration error from {song['before']['ece']:.3f} to {song['after']['ece']:.3f}"
    ]


def interval(span: list[float] | None) -> str:
    """Two bounds of three digits each, or nothing."""
    return "" if span is None else f"{span[0]:.3f} to {span[1]:.3f}"


def number(value: float | None) -> str:
    """Three digits, or a dash for what is not defined."""
    return "–" if value is None else f"{value:.3f}"
