"""The Space: what is published runs by itself, and a browser finds a song's genres on it."""

import ast
import importlib.util
import os
import re
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import space_browser
from hub_store import front_matter, metadata_errors
from huggingface_hub import HfApi, constants
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from genreast.arguments import PushArguments
from genreast.config import parse
from genreast.errors import UserError
from genreast.inference import GenreClassifier, SongPrediction, timeline
from genreast.publishing import hub_space
from genreast.publishing.hub import publish
from genreast.publishing.privacy import scan
from genreast.publishing.staging_folder import files_in
from genreast.publishing.steps import pack

ROOT = Path(__file__).resolve().parent.parent
PAGE_DIR = ROOT / "examples" / "space"
START_SECONDS = 120  # at most, on a busy machine
needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None,
    reason="gradio is not installed: pip install -e '.[space]'",
)
needs_chromium = pytest.mark.skipif(
    not (space_browser.CHROMIUM and space_browser.DRIVER),
    reason="no Chromium with its driver: apt-get install chromium chromium-driver",
)


@pytest.fixture
def staged(tmp_path) -> Path:
    hub_space.stage_space(PAGE_DIR, "alice/genre", tmp_path / "staged")
    return tmp_path / "staged"


def publish_all(hub, monkeypatch, folder: Path, command: list[str]) -> list:
    """What push_to_hub.py does with this command, in this process."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    api = HfApi(endpoint=hub.url)
    options = ["--staging_dir", str(folder / "staging")]
    args = parse(PushArguments, argv=[*command, *options])
    with pack(args, ROOT / "model_card.md", PAGE_DIR) as parcels:
        return [publish(each.folder, each.destination, each.check, api) for each in parcels]


def test_the_space_holds_the_page_and_what_it_imports(staged):
    names = files_in(staged)
    assert {"README.md", "app.py", "packages.txt", "requirements.txt"} < set(names)
    modules = ("__init__.py", "audio.py", "inference/__init__.py", "inference/classifier.py")
    assert {f"genreast/{name}" for name in modules} < set(names)
    assert not [name for name in names if re.match("genreast/(training|publishing)/", name)]
    scan(staged, hub_space.STAGED, user="alice")


def test_its_requirements_are_the_project_s_and_name_all_that_it_imports(staged):
    pins = dict(line.split("==") for line in (staged / "requirements.txt").read_text().split())
    ours = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.M))
    assert pins.items() <= ours.items()
    imported = set()
    for path in staged.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.split(".")[0])
    # Gradio comes with the Space's SDK, and Pillow with Gradio.
    assert imported - set(sys.stdlib_module_names) <= {*pins, "gradio", "PIL", "genreast"}


def test_its_card_names_the_model_and_the_gradio_that_is_tested(staged):
    data = front_matter((staged / "README.md").read_text())
    assert metadata_errors(data, "space") == []
    assert data["models"] == ["alice/genre"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert extras["space"] == [f"gradio=={data['sdk_version']}"]


def test_it_is_created_beside_its_model_and_published_once(hub, tiny_model, tmp_path, monkeypatch):
    command = [str(tiny_model), "alice/genre", "--space", "alice/genre", "--private"]
    model, space = publish_all(hub, monkeypatch, tmp_path, command)
    assert model.url == f"{hub.url}/alice/genre"
    assert space.url == f"{hub.url}/spaces/alice/genre"
    repo = hub.repo("alice/genre", "space")
    assert repo.private and repo.card_data("main")["models"] == ["alice/genre"]
    assert b"def main" in repo.file("main", "app.py").content
    assert not any(each.changed for each in publish_all(hub, monkeypatch, tmp_path, command))
    assert len(repo.history()) == 2, "the Hub's own first commit, and ours"


@pytest.mark.parametrize(
    "command, words",
    [
        (["--space", "alice/page"], "MODEL_DIR is missing: name a trained model folder"),
        (["model", "--space", "alice/page"], "USER/NAME is missing"),
        (["model", "alice/genre", "--space", "page"], "'page' is not a Hub id"),
        (["model", "alice/genre", "--space", "a/b", "--create_pr"], "--space goes with neither"),
        (
            ["model", "alice/genre", "--space", "a/b", "--revision", "x"],
            "--space goes with neither",
        ),
    ],
)
def test_a_space_without_a_model_on_main_is_refused(command, words):
    with pytest.raises(UserError) as refusal:
        parse(PushArguments, argv=command)
    assert words in str(refusal.value)


@needs_gradio
def test_a_page_without_a_model_says_so(tmp_path):
    for folder in (PAGE_DIR, tmp_path):
        with pytest.raises(UserError, match=r"no model to show: name one with --model"):
            page_module().model_of(folder / "README.md")


@needs_gradio
def test_a_genre_s_name_is_text_on_the_page():
    shown = page_module().bars([("<b>rock & roll", 0.5)], {})
    assert "&lt;b&gt;rock &amp; roll" in shown and "<b>" not in shown
    page = page_module().page(SimpleNamespace(labels=["*rock*", "<b>pop"]))
    texts = [
        part["props"].get("value") for part in page.config["components"] if part["type"] == "html"
    ]
    assert any("knows *rock*, &lt;b&gt;pop." in text for text in texts if text)


@needs_gradio
def test_a_visitor_s_sound_that_cannot_be_heard_is_no_traceback_in_the_log():
    from gradio import Error

    silent = SimpleNamespace(problem="it is silent")
    classifier = SimpleNamespace(labels=["rock"], predict=lambda songs: iter([silent]))
    (event,) = page_module().page(classifier).fns.values()
    with pytest.raises(Error, match="no answer: it is silent") as shown:
        event.fn("song.wav")
    assert not shown.value.print_exception


@needs_gradio
@pytest.mark.parametrize("count", [3, 7, 12])
def test_every_area_of_the_timeline_has_its_bar_in_its_colour(count):
    probabilities = np.random.default_rng(count).dirichlet(np.ones(count), 5)
    names = [f"_{index} at $5" for index in range(count)]  # no hidden label and no formula
    figure, bars = shown(names, probabilities)
    colours = {}
    for area in figure.axes[0].patches:
        top, _, bottom = area.get_data()
        alike = np.isclose(probabilities.T, (top - bottom)[::2]).all(1)
        name = names[alike.argmax()] if alike.any() else "others"
        colours[name] = to_hex(area.get_facecolor())
    assert len(colours) == min(count, 7) == len(set(colours.values()))
    assert bars == dict.fromkeys(bars, colours.get("others")) | colours


@needs_gradio
def test_the_most_probable_genre_has_a_bar_though_the_timeline_sums_it_with_others():
    others = 0.05 + 0.6 * np.eye(7)  # each highest for a while
    probabilities = np.insert(others, 0, 0.3, axis=1)
    names = [f"genre {index}" for index in range(8)]
    _, bars = shown(names, probabilities / probabilities.sum(1, keepdims=True))
    assert next(iter(bars)) == "genre 0" and bars["genre 0"] == bars["others"]


def shown(names: list[str], probabilities: np.ndarray) -> tuple[Figure, dict[str, str]]:
    """The timeline of a song on the page, and the colour of each genre's bar, from the top."""
    app, starts = page_module(), [10.0 * window for window in range(len(probabilities))]
    prediction = SongPrediction("song", names, 10.0 * len(starts), 10.0, starts)
    prediction.log_probabilities = np.log(probabilities)
    figure = timeline.draw(prediction, np.zeros((128, 300)), app.GENRES_SHOWN)
    colours = app.colours(figure)
    page = app.bars(app.rows(prediction, colours), colours)
    names, colours = (re.findall(each, page) for each in ('name">(.*?)<', "background: (#\\w+)"))
    return figure, dict(zip(names, colours, strict=True))


@needs_gradio
@needs_chromium
def test_a_browser_finds_a_song_s_genres_on_the_published_space(
    hub, tiny_model, song_files, tmp_path, monkeypatch
):
    pytest.importorskip("selenium", reason="selenium is not installed")
    command = [str(tiny_model), "alice/genre", "--space", "alice/page"]
    publish_all(hub, monkeypatch, tmp_path, command)
    space = tmp_path / "space"
    HfApi(endpoint=hub.url).snapshot_download("alice/page", repo_type="space", local_dir=space)

    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF, but no sound")
    home, microphone = tmp_path / "home", song_files["ten"]
    with (
        running(space, hub.environment(home)) as url,
        space_browser.browser(microphone) as page,
    ):
        for song, size in (("long", space_browser.DESK), ("ten", space_browser.PHONE)):
            expected = dict(GenreClassifier.from_pretrained(tiny_model)(song_files[song]).genres())
            space_browser.open_page(page, url, size)
            space_browser.upload(page, song_files[song])
            shown = space_browser.genres(page)
            assert list(shown) == list(expected), "the most probable first"
            assert shown == pytest.approx({k: 100 * v for k, v in expected.items()}, abs=0.51)
            width, height = space_browser.timeline_size(page)
            assert width > 250 and height > 150
            across = "return [document.documentElement.scrollWidth, innerWidth]"
            assert len(set(page.execute_script(across))) == 1, "nothing sticks out sideways"
            below = "return [document.documentElement.scrollHeight, innerHeight]"
            assert len(set(page.execute_script(below))) == 1, "all of it is on one screen"
        space_browser.open_page(page, url)
        space_browser.record(page, seconds=2)
        assert space_browser.genres(page).keys() == expected.keys()
        space_browser.open_page(page, url)
        space_browser.upload(page, broken)
        assert "no answer" in space_browser.complaint(page)


def page_module():
    """examples/space/app.py as a module."""
    spec = importlib.util.spec_from_file_location("space_app", PAGE_DIR / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def running(space: Path, variables: dict[str, str]) -> Iterator[str]:
    """The address of a Space's app, started as the Hub starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | variables | {"GRADIO_SERVER_PORT": port}
    environment.pop("PYTHONPATH", None)
    url = f"http://127.0.0.1:{port}"
    log = space / "log.txt"
    with log.open("w") as output:
        command = [sys.executable, "app.py"]
        app = subprocess.Popen(command, cwd=space, env=environment, stdout=output, stderr=output)
    try:
        for _ in range(2 * START_SECONDS):
            assert app.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(url).close()
                break
            except OSError:
                time.sleep(0.5)
        yield url
    finally:
        app.terminate()
        app.wait(timeout=30)
