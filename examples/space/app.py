"""Try a genre model in the browser: drop a song or record one, see its genres and their timeline.

    python examples/space/app.py --model models/demo

Needs `pip install -e '.[space]'`. On the Hub this file is a Space's app; which model it shows
stands in the README.md beside it, under `models`.
"""
# ruff: noqa: E402

import argparse
import html
import io
import sys
from pathlib import Path

try:
    import gradio as gr
except ImportError:
    sys.exit("error: Gradio is missing: pip install -e '.[space]'")
from huggingface_hub import metadata_load
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

HERE = Path(__file__).resolve().parent
if not (HERE / "genreast").is_dir():  # a Space holds the package beside this file
    sys.path.insert(0, str(HERE.parents[1]))

from genreast import png
from genreast.audio import stream_audio
from genreast.errors import UserError, run
from genreast.garbage import resume_collection
from genreast.inference import GenreClassifier, SongPrediction, timeline

LARGEST_FILE = "200mb"
GENRES_SHOWN = 6  # as many as the timeline has colours for
CSS = """
.gradio-container { max-width: 1000px !important; margin: 0 auto !important; }
.gradio-container h1 { font-size: 1.5rem; font-weight: 700; margin: 0; }
main.fillable { padding-top: 16px !important; }
.genre { display: flex; gap: 10px; align-items: center; padding: 2px 0; }
.genre .name { flex: 0 0 35%; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.genre .track { flex: 1; height: 12px; border-radius: 6px; background: #8883; }
.genre .bar { height: 100%; border-radius: 6px; min-width: 3px; }
.genre .percent { flex: 0 0 3rem; text-align: right; font-variant-numeric: tabular-nums; }
.genre:first-child { font-weight: 700; font-size: 1.2em; }
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="model folder or Hub id (default: the README.md's model)")
    model = parser.parse_args().model or model_of(HERE / "README.md")
    classifier = GenreClassifier.from_pretrained(model)
    resume_collection()
    theme = gr.themes.Soft(font=[gr.themes.LocalFont("IBM Plex Sans", (400, 700)), "sans-serif"])
    page(classifier).launch(theme=theme, css=CSS, max_file_size=LARGEST_FILE, footer_links=[])


def model_of(readme: Path) -> str:
    """The model that a Space's README.md names. Raises UserError when it names none."""
    models = (metadata_load(readme) or {}).get("models") if readme.is_file() else None
    if not models:
        raise UserError(
            "no model to show: name one with --model, or publish this Space with"
            " `python push_to_hub.py MODEL_DIR USER/NAME --space USER/SPACE`"
        )
    return models[0]


def page(classifier: GenreClassifier) -> gr.Blocks:
    """The whole page, on one screen."""

    def hear(song: str | None) -> tuple[str, Image.Image | None]:
        if song is None:
            return "", None
        prediction = next(classifier.predict([song]))
        if prediction.problem:
            options = {"title": "This sound", "duration": None, "print_exception": False}
            raise gr.Error(f"no answer: {prediction.problem}", **options)
        figure = draw(prediction, song)
        picture = Image.open(io.BytesIO(png.to_bytes(figure)))
        colour = colours(figure)
        return bars(rows(prediction, colour), colour), picture

    options = {"title": "Genres of a song", "fill_width": True, "analytics_enabled": False}
    with gr.Blocks(**options) as blocks:
        known = html.escape(", ".join(classifier.labels))
        gr.HTML(f"<h1>Genres of a song</h1><p>This model knows {known}.</p>")
        with gr.Row():
            with gr.Column(min_width=300, scale=2):
                song = gr.Audio(
                    label="Drop a song, or record one",
                    sources=["upload", "microphone"],
                    type="filepath",
                    editable=False,
                    buttons=[],
                    elem_id="song",
                )
                genres = gr.HTML(elem_id="genres")
            with gr.Column(min_width=300, scale=3):
                picture = gr.Image(
                    show_label=False, interactive=False, buttons=[], elem_id="timeline"
                )
        song.change(hear, song, [genres, picture], api_name="hear")
    return blocks


def rows(prediction: SongPrediction, colour: dict[str, str]) -> list[tuple[str, float]]:
    """The most probable genres and all that the timeline shows, so that the bars are its legend."""
    genres = [
        (name, value)
        for rank, (name, value) in enumerate(prediction.genres())
        if rank < GENRES_SHOWN or name in colour
    ]
    if timeline.OTHERS in colour:
        rest = 1 - sum(value for _, value in genres)
        genres.append((timeline.OTHERS, max(0.0, rest)))  # rounding may leave less than nothing
    return genres


def bars(genres: list[tuple[str, float]], colour: dict[str, str]) -> str:
    """Genres and probabilities as HTML, each in its colour on the timeline or in its others'."""
    others = colour.get(timeline.OTHERS)
    lines = [
        f'<div class="genre"><span class="name">{html.escape(name)}</span><span class="track">'
        f'<div class="bar" style="width: {value:.1%}; background: {colour.get(name, others)}">'
        f'</div></span><span class="percent">{value:.0%}</span></div>'
        for name, value in genres
    ]
    return "".join(lines)


def draw(prediction: SongPrediction, song: str) -> Figure:
    """The timeline in a shape that can be read on a phone; the bars are its legend."""
    figure = timeline.draw(prediction, timeline.log_mel_picture(stream_audio(song)), GENRES_SHOWN)
    figure.set_size_inches(6, 4.4)
    figure.axes[0].get_legend().remove()
    return figure


def colours(figure: Figure) -> dict[str, str]:
    """The colour of each genre that a timeline shows."""
    return {layer.get_label(): to_hex(layer.get_facecolor()) for layer in figure.axes[0].patches}


if __name__ == "__main__":
    run(main)
