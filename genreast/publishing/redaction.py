"""Paths taken out of texts, and out of TensorBoard files all but their scalars."""

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from genreast.errors import UserError
from genreast.hub_ids import is_hub_id, split_revision
from genreast.pretrained import read_json

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


def public_text(source: Path, genres: Collection[str]) -> str:
    """A JSON or YAML file without its paths. A genre is a name, whatever it looks like."""
    if source.suffix == ".json":
        return json.dumps(_public(read_json(source), genres), indent=2) + "\n"
    try:
        text = source.read_text(encoding="utf-8")
    except ValueError as error:
        raise UserError(f"'{source}' is not UTF-8 text: {error}") from error
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
