"""What goes to the Hub: a model folder → a staging folder with exactly the files that belong there.

Files are named one by one, never copied by folder; texts lose their paths. Nothing here touches the
network.
"""

import contextlib
import fnmatch
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open

from genreast.errors import UserError
from genreast.hub_ids import is_hub_id, split_revision
from genreast.lock import alone
from genreast.pages import PAGE_FILE, is_sealed, write_page
from genreast.pretrained import (
    CONFIG_FILE,
    EXTRACTOR_FILE,
    MODEL_FILES,
    RECORD_FILE,
    WEIGHTS_FILE,
    check_classifier,
    weights_fingerprint,
)
from genreast.songs import is_junk
from genreast.summary import METRICS_FILE

FIGURES = {  # the pictures that go public, by file name without .png: what each shows
    "confusion_matrix": "Confusion matrix of the songs, in counts",
    "confusion_matrix_normalised": "Confusion matrix of the songs, as shares of each true genre",
    "f1_against_share": "F1 of each genre against its share of the training songs",
    "reliability": "Reliability diagram",
    "learning_curves": "Learning curves",
    "timeline": "Genres over the time of one song",
}
ONNX_DIR = "onnx"
FLOAT32_FILE, INT8_FILE = "model.onnx", "model_quantized.onnx"  # as Transformers.js names them
MEASUREMENTS_FILE = "measurements.json"  # how large, fast and exact the two are
ONNX_FILES = (FLOAT32_FILE, INT8_FILE, MEASUREMENTS_FILE)
STAGED = (
    *MODEL_FILES,
    PAGE_FILE,
    METRICS_FILE,
    RECORD_FILE,
    *(f"figures/{name}.png" for name in FIGURES),
    "runs/events.out.tfevents.*",
    *(f"{ONNX_DIR}/{name}" for name in ONNX_FILES),
)
# Files that an earlier run may have published, and that no longer describe the model once gone.
OWNED = tuple(name for name in STAGED if name not in (*MODEL_FILES, PAGE_FILE))
# What a flag adds to a model, told by one of its files.
FLAGGED = {METRICS_FILE: "--evaluation", f"{ONNX_DIR}/{MEASUREMENTS_FILE}": "--onnx"}

ABSOLUTE_PATH = re.compile(
    r"(?:(?<![^\s\"`=(\[{>|;'])(?<!\w'))"  # where a word begins: no URL, no name such as Wham!/
    r"(?:/(?!/)[\w.@+~-]+(?:/[\w.@+~-]+)+/?|~/[\w./@+-]+|[A-Za-z]:\\[\w.\\ @+-]+|/root\b"
    r"|file:/[\w.@+~/-]+)"
)
ABOVE = re.compile(r"(?<![\w./\\])(?:\.\.[/\\])+[\w.@+~/\\-]+")  # a path such as ../../songs
# Values of metrics.json and training_config.yaml that are paths as a whole, or ids on the Hub.
PLACES = (
    *("model", "dataset", "other", "other_model"),
    *("name", "output_dir", "model_name_or_path", "pth_labels"),
)


def check_model_dir(model_dir: Path) -> None:
    """Refuse a folder that is not a trained model, naming everything that is wrong with it."""
    if not model_dir.is_dir():
        raise UserError(
            f"'{model_dir}' is not a folder: name the model folder that train_hf.py wrote"
        )
    missing = [name for name in MODEL_FILES if not (model_dir / name).is_file()]
    if missing:
        raise UserError(
            f"'{model_dir}' is not a trained model: it has no {', no '.join(missing)}."
            " Name the folder that train_hf.py wrote (its --output_dir)"
        )
    config = read_json(model_dir / CONFIG_FILE)
    if config.get("architectures") != ["ASTForAudioClassification"]:
        raise UserError(
            f"'{model_dir}' holds {config.get('architectures') or 'no architecture'}; expected an"
            " ASTForAudioClassification, as train_hf.py writes it"
        )
    check_classifier(str(model_dir), config)
    extractor = read_json(model_dir / EXTRACTOR_FILE).get("feature_extractor_type")
    if extractor != "ASTFeatureExtractor":
        raise UserError(
            f"{model_dir}/{EXTRACTOR_FILE} is of a {extractor}; expected ASTFeatureExtractor"
        )
    with open_weights(model_dir / WEIGHTS_FILE):
        pass


def read_evaluation(model_dir: Path, evaluation: Path) -> dict:
    """The metrics of an evaluation folder. Refuses those of another model, or of other genres."""
    path = evaluation / METRICS_FILE
    if not path.is_file():
        raise UserError(
            f"'{evaluation}' is not an evaluation: it has no metrics.json. Make one with"
            f" `python evaluate_model.py {model_dir} --output_dir DIR`"
        )
    metrics = read_json(path)
    measured, published = metrics.get("model_fingerprint"), weights_fingerprint(model_dir)
    if measured != published:
        raise UserError(
            f"'{evaluation}' measured another model: its fingerprint is {str(measured)[:12]}, that"
            f" of '{model_dir}' {published[:12]}. Evaluate the model that you publish"
        )
    measured = metrics.get("song", {}).get("per_class", {})
    genres = genres_of(read_json(model_dir / CONFIG_FILE))
    for told, named in zip(measured, genres, strict=False):
        if told != named:
            raise UserError(
                f"'{evaluation}' tells of a genre '{told}' that {CONFIG_FILE} of '{model_dir}'"
                f" calls '{named}': name it there as it was measured, or evaluate it by that name"
            )
    return metrics


def genres_of(config: dict) -> list[str]:
    """The genres that a config.json names, in the order of the model's outputs."""
    labels = config["id2label"]
    return [labels[number] for number in sorted(labels, key=int)]


def stage_model(
    model_dir: Path,
    evaluation: Path | None,
    staging_dir: Path,
    page: Callable[[Path], str],
    with_onnx: bool = False,
) -> None:
    """Fill `staging_dir` with what belongs on the Hub.

    `page` makes README.md of a folder that holds the rest. Text loses its absolute paths and
    TensorBoard events all but their scalars.
    """

    def fill(folder: Path) -> None:
        _fill(model_dir, evaluation, folder)
        if with_onnx:
            (folder / ONNX_DIR).mkdir()
            for name in ONNX_FILES:
                shutil.copyfile(model_dir / ONNX_DIR / name, folder / ONNX_DIR / name)
        write_page(folder, page(folder))

    fill_aside(staging_dir, STAGED, fill)


def fill_aside(
    staging_dir: Path,
    patterns: tuple[str, ...],
    fill: Callable[[Path], None],
    mark: str = PAGE_FILE,
) -> None:
    """Fill a folder aside and, once it is whole, move what it holds into the staging folder.

    An earlier staging, told by its file `mark`, is replaced. Raises UserError when other files lie
    there, or its page was edited since, or another run is at it.
    """
    has_page = mark == PAGE_FILE  # an export to ONNX has none, nor a flag for its place
    remedy = "move it away" + (", or name an empty --staging_dir" if has_page else "")
    if staging_dir.exists() and not staging_dir.is_dir():
        raise UserError(f"'{staging_dir}' is a file: {remedy}")
    names = files_in(staging_dir)
    foreign = [name for name in names if not belongs(name, patterns)]
    made_here = staging_dir / mark
    if mark in patterns and names and not foreign:
        if not made_here.is_file():
            foreign = names
        elif has_page and not is_sealed(made_here.read_text(encoding="utf-8", errors="replace")):
            raise UserError(
                f"'{made_here}' was not made here, or edited since: {remedy} (the words of every"
                " page are in model_card.md)"
            )
    if foreign:
        raise UserError(f"'{staging_dir}' holds {foreign[0]}, which no staging made: {remedy}")
    place = staging_dir.resolve()  # "." lies in no parent of its own, nor does a link's folder
    place.parent.mkdir(parents=True, exist_ok=True)
    with _aside(place) as aside:
        fill(aside)
        # The folder itself stays: the user may stand in it. The mark, which tells that it was made
        # here, goes last and comes first, so that a stop in between is mended by staging again.
        place.mkdir(exist_ok=True)
        for entry in sorted(place.iterdir(), key=lambda entry: entry.name == mark):
            remove = shutil.rmtree if entry.is_dir() and not entry.is_symlink() else Path.unlink
            remove(entry)
        for entry in sorted(aside.iterdir(), key=lambda entry: entry.name != mark):
            shutil.move(entry, place / entry.name)


@contextlib.contextmanager
def _aside(place: Path) -> Iterator[Path]:
    """An empty folder beside a place, for one run at a time. Its name is always the same, so that
    what a killed run left there is cleared by the next.
    """
    aside = place.with_name(f".staging-{place.name}")
    with alone(Path(f"{aside}.lock"), f"another run is filling '{place}'; wait for it"):
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def hold(staging_dir: Path) -> Iterator[Path]:
    """Keep a staging folder for one run, until it has uploaded what it filled it with: files that
    another put in their place meanwhile would go out unchecked. Gives the folder.
    """
    place = staging_dir.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    refusal = f"another run is publishing '{place}'; wait for it, or name another --staging_dir"
    with alone(place.with_name(f".publishing-{place.name}.lock"), refusal):
        yield staging_dir


def _fill(model_dir: Path, evaluation: Path | None, target: Path) -> None:
    shutil.copyfile(model_dir / WEIGHTS_FILE, target / WEIGHTS_FILE)
    sources = [model_dir / name for name in MODEL_FILES if name.endswith(".json")]
    sources += [model_dir / RECORD_FILE]
    if evaluation:
        sources += [evaluation / METRICS_FILE]
    for folder in filter(None, (model_dir, evaluation)):
        for figure in (folder / f"{name}.png" for name in FIGURES):
            if figure.is_file() and not figure.is_symlink():
                (target / "figures").mkdir(exist_ok=True)
                shutil.copyfile(figure, target / "figures" / figure.name)
    genres = genres_of(read_json(model_dir / CONFIG_FILE))
    for source in filter(Path.is_file, sources):
        (target / source.name).write_text(_public_text(source, genres), encoding="utf-8")
    events = (model_dir / "runs").rglob("events.out.tfevents.*")
    for number, path in enumerate(sorted(events, key=lambda path: path.name)):
        # The name's fourth part is the machine's name: only the time stays.
        time = path.name.split(".")[3]
        copy_scalars(path, target / "runs" / f"events.out.tfevents.{time}.{number}")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except ValueError as error:
        raise UserError(f"'{path}' is not UTF-8 text: {error}") from error


def _public_text(source: Path, genres: Collection[str]) -> str:
    """A JSON or YAML file without its paths. A genre is a name, whatever it looks like."""
    if source.suffix == ".json":
        return json.dumps(_public(read_json(source), genres), indent=2) + "\n"
    text = _read_text(source)
    try:
        content = _public(yaml.safe_load(text), genres)
    except yaml.YAMLError:  # the page's maker tells what is wrong with it
        return without_paths(text)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _public(content: Any, genres: Collection[str]) -> Any:
    """`PLACES` keep their last part: in a path as a whole, a space or a bracket ends nothing."""
    if isinstance(content, dict):
        return {
            _public(key, genres): _last_part(value)
            if key in PLACES and isinstance(value, str) and not is_hub_id(split_revision(value)[0])
            else _public(value, genres)
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [_public(each, genres) for each in content]
    return without_paths(content) if isinstance(content, str) and content not in genres else content


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def without_paths(text: str) -> str:
    """The text with each absolute path, and each that leads above, shortened to its last part."""
    for pattern in (ABSOLUTE_PATH, ABOVE):
        text = pattern.sub(lambda path: _last_part(path[0]), text)
    return text


def copy_scalars(source: Path, target: Path) -> None:
    """Copy the scalars of a TensorBoard file: its texts hold every setting, with paths."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    target.parent.mkdir(exist_ok=True)
    with target.open("wb") as file:
        writer = RecordWriter(file)
        for event in events_of(source):
            scalars = [value for value in event.summary.value if value.HasField("simple_value")]
            if event.file_version:
                kept = Event(wall_time=event.wall_time, file_version=event.file_version)
                writer.write(kept.SerializeToString())
            elif scalars:
                kept = Event(wall_time=event.wall_time, step=event.step)
                kept.summary.value.extend(scalars)
                writer.write(kept.SerializeToString())


def events_of(path: Path) -> Iterator:
    """The Event messages of a TensorBoard file."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    return map(Event.FromString, RawEventFileLoader(str(path)).Load())


def open_weights(path: Path) -> safe_open:
    """A safetensors file, of which the header alone is read: it tells whether the file is whole."""
    try:
        return safe_open(path, "np")
    except SafetensorError as error:
        raise UserError(
            f"'{path}' is not a whole safetensors file: train again, or copy it again"
        ) from error


def read_json(path: Path) -> dict:
    """A JSON object from a file, or a UserError that names it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"'{path}' is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"'{path}' holds a {type(content).__name__}; expected an object")
    return content


def files_in(folder: Path) -> list[str]:
    """The files of a folder at any depth, as sorted names with slashes; none that are junk."""
    files = (path for path in folder.rglob("*") if path.is_file())
    kept = (path for path in files if not is_junk(path.name))
    return sorted(path.relative_to(folder).as_posix() for path in kept)


def belongs(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file of this name is one of those staged. A star stays within its folder."""
    return any(fnmatch.fnmatch(name, p) and name.count("/") == p.count("/") for p in patterns)
