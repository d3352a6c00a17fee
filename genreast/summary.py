"""An evaluation in a few lines of text, for the terminal."""

from typing import Any

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


def table(metrics: dict[str, Any], label_names: list[str]) -> str:
    """The main scores of clips and songs, with the songs' 95 % intervals."""
    clip, song = metrics["clip"], metrics["song"]
    spans = metrics["confidence_intervals"]["song"]
    lines = [
        f"{metrics['split']} split: {clip['count']} clips of {song['count']} songs, "
        f"{len(label_names)} genres",
        f"{'':<24}{'clips':>8}{'songs':>8}   95 % interval, songs",
    ]
    for key, name in SCORES.items():
        span = f"   {spans[key][0]:.3f} to {spans[key][1]:.3f}" if spans.get(key) else ""
        lines.append(f"{name:<24}{number(clip[key]):>8}{number(song[key]):>8}{span}")
    if metrics["calibration"]:
        found = metrics["calibration"]["song"]
        lines.append(
            f"temperature {found['temperature']:.2f}, fitted on validation, takes the songs' "
            f"calibration error from {found['before']['ece']:.3f} to {found['after']['ece']:.3f}"
        )
    if metrics["unreadable"]:
        lines.append(f"{len(metrics['unreadable'])} clips could not be read")
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Three digits, or a dash for what is not defined."""
    return "–" if value is None else f"{value:.3f}"
