"""report.html: an evaluation on one self-contained page, with the most confident mistakes."""

import base64
import contextlib
import csv
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from jinja2 import Environment
from matplotlib import colormaps
from PIL import Image

from genreast.atomic import at_once
from genreast.audio import FRAME_LENGTH, AudioError, load_audio
from genreast.data.columns import encoded
from genreast.data.song_table import SONGS_FILE
from genreast.evaluation import comparison, summary
from genreast.evaluation.figures import ROOMY
from genreast.evaluation.scoring import Scored
from genreast.inference.timeline import log_mel_picture

REPORT_FILE = "report.html"
MOST_MISTAKES = 12
MOST_CLIPS = 12  # of a song, in its picture
CAPTIONS = {
    "confusion_matrix": "True genres (rows) by predicted genres (columns), counted in {}.",
    "confusion_matrix_normalised": "The same in percent of the true genre's {}.",
    "f1_against_share": "Does rarity hurt? F1 of each genre against its share of training {}.",
    "reliability": "How often the model is right when it says it is this sure.",
}
STRIP = (480, 88)  # pixels of a song's log-mel picture
MATRICES = ("confusion_matrix", "confusion_matrix_normalised")
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; } th, td { padding: 0.25rem 0.8rem; text-align: right; }
th { border-bottom: 2px solid #999; font-weight: 600; } td { border-bottom: 1px solid #ddd; }
th:first-child, td:first-child, .text { text-align: left; }
figure { margin: 1rem 0 2rem; } img { max-width: 100%; } figcaption, .note { color: #555; }
td img { display: block; width: 18rem; height: 3.4rem; }
img.dense { max-width: none; }  /* letters this small bear no shrinking */
pre { background: #f5f5f5; padding: 0.8rem; overflow-x: auto; } .wide { overflow-x: auto; }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="note">{{ about }}</p>
<h2>Scores</h2>
<table>
<tr>{% for name in columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in scores %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table>
<p class="note">{{ drawn }}</p>
{% if verdict %}<h2>Against another model</h2>
<pre>{{ verdict }}</pre>
{% endif %}<h2>Genres</h2>
<div class="wide"><table>
<tr><th>genre</th><th>{{ unit }}s</th><th>precision</th><th>recall</th><th>F1</th>
<th>95 % interval</th><th>average precision</th></tr>
{% for row in genres %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
<h2>Figures</h2>
{% for figure in figures %}<figure><div class="wide">
<img {{ "class=dense" if figure.dense }} width="{{ figure.width }}" src="{{ figure.data }}"
alt="{{ figure.caption }}">
</div>
<figcaption>{{ figure.caption }}</figcaption></figure>
{% endfor %}<h2>The most confident mistakes</h2>
{% if mistakes %}<div class="wide"><table>
<tr><th>{{ unit }}</th><th class="text">true genre</th><th class="text">predicted</th>
<th>confidence</th><th class="text">log-mel{{ " of its clips" if unit == "song" }}</th></tr>
{% for row in mistakes %}<tr><td>{{ row.song }}</td><td class="text">{{ row.label }}</td>
<td class="text">{{ row.prediction }}</td><td>{{ row.confidence }}</td>
<td>{% if row.data %}<img src="{{ row.data }}" alt="log-mel of {{ row.song }}">{% endif %}</td></tr>
{% endfor %}</table></div>
{% else %}<p>No {{ unit }} of this split is judged wrongly.</p>
{% endif %}</body>
</html>
"""


def write(
    folder: Path,
    metrics: dict[str, Any],
    songs: Scored,
    figures: dict[str, bytes],
    names: dict[str, str],
    picture: Callable[[str], np.ndarray | None],
) -> None:
    """Write report.html. `names` are the songs' names by id; `picture(song_id)` is a song's
    log-mel picture (mel, columns), or None where its sound is not at hand.
    """
    spans = metrics["confidence_intervals"]["song"]
    unit, (columns, rows) = summary.unit_of(metrics), summary.scores(metrics)
    drawn = f"{'; '.join(summary.about_intervals(spans))}."
    if unit == "song":
        pooling = metrics["pooling"].replace("_", " ")
        drawn += " A group is what the dataset was split by."
        drawn += f" A song is pooled from its clips by {pooling}."
    model = os.path.basename(os.path.abspath(metrics["model"]))
    page = Environment(autoescape=True).from_string(PAGE)
    html = page.render(
        title=f"{model} on the {metrics['split']} split",
        about=f"{summary.counts(metrics)} from {metrics['dataset']}; "
        f"model sha256 {metrics['model_fingerprint'][:12]}.",
        unit=unit,
        drawn=drawn,
        columns=columns,
        scores=rows,
        verdict=comparison.verdict(metrics["comparison"]) if metrics.get("comparison") else "",
        genres=_genre_rows(metrics["song"]["per_class"], spans.get("per_class", {})),
        figures=[
            {
                "caption": CAPTIONS.get(name, name).format(f"{unit}s"),
                "data": _data_uri(content),
                "width": _css_width(content),
                "dense": name in MATRICES and len(songs.label_names) > ROOMY,
            }
            for name, content in figures.items()
        ],
        mistakes=[
            {
                "song": names.get(songs.names[row], songs.names[row]),
                "label": songs.label_names[songs.labels[row]],
                "prediction": songs.label_names[songs.predictions[row]],
                "confidence": f"{songs.probabilities[row].max():.3f}",
                "data": _strip(picture(songs.names[row])),
            }
            for row in confident_mistakes(songs)
        ],
    )
    with at_once(folder / REPORT_FILE) as part:
        part.write_text(html, encoding="utf-8")


def clear(folder: Path) -> None:
    """Remove the report and the figures of an earlier evaluation: other scores are to come."""
    for name in (REPORT_FILE, *(f"{name}.png" for name in CAPTIONS)):
        (folder / name).unlink(missing_ok=True)


def confident_mistakes(songs: Scored) -> list[int]:
    """Rows of the songs judged wrongly, the surest first."""
    wrong = np.flatnonzero(songs.predictions != songs.labels)
    confidence = songs.probabilities.max(1)
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_MISTAKES].tolist()


def song_names(dataset: str | Path) -> dict[str, str]:
    """Each song's path in the raw folder by its id, where the dataset's songs.csv tells it."""
    path = Path(dataset) / SONGS_FILE
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = [row for row in csv.DictReader(file) if row.get("song_id") and row.get("path")]
    return {
        row["song_id"]: row["path"].encode(errors="replace").decode(errors="replace")
        for row in rows
    }


def song_pictures(split: datasets.Dataset) -> Callable[[str], np.ndarray | None]:
    """A function from a song's id to the log-mel picture of its first clips in a row."""
    rows_of: dict[str, list[int]] = {}
    for row, song_id in enumerate(split["song_id"]):
        rows_of.setdefault(song_id, []).append(row)

    def picture(song_id: str) -> np.ndarray | None:
        blocks = []
        for row in rows_of[song_id][:MOST_CLIPS]:
            with contextlib.suppress(AudioError):
                blocks.append(load_audio(encoded(split[row]["audio"])))
        blocks = [block for block in blocks if len(block) >= FRAME_LENGTH]
        return log_mel_picture(blocks, columns=480) if blocks else None

    return picture


def _genre_rows(per_class: dict[str, dict], spans: dict[str, dict]) -> list[list[str]]:
    rows = []
    for name, scores in per_class.items():
        span = spans.get(name, {}).get("f1")
        rows.append(
            [
                name,
                str(scores["support"]),
                *(summary.number(scores[key]) for key in ("precision", "recall", "f1")),
                summary.interval(span),
                summary.number(scores["average_precision"]),
            ]
        )
    return rows


def _strip(picture: np.ndarray | None) -> str:
    """A log-mel picture without axes, as a data URI."""
    if picture is None:
        return ""
    low, high = np.percentile(picture, [2, 99.8])
    shades = np.clip((picture[::-1] - low) / max(high - low, 1e-9), 0, 1)  # low notes below
    image = Image.fromarray(np.uint8(255 * shades)).resize(STRIP, Image.Resampling.BOX)
    image.putpalette(colormaps["magma"](range(256), bytes=True)[:, :3].tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return _data_uri(buffer.getvalue())


def _css_width(content: bytes) -> int:
    """The width of a PNG as it was drawn, in CSS pixels, of which an inch has 96."""
    with Image.open(io.BytesIO(content)) as image:
        return round(image.width * 96 / image.info["dpi"][0])


def _data_uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()
