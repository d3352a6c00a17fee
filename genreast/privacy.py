"""What must not go public: every file that is to be published is searched for it."""

import csv
import getpass
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from genreast.errors import UserError
from genreast.staging import (
    ABSOLUTE_PATH,
    STAGED,
    belongs,
    events_of,
    files_in,
    safetensors_header,
)

SHARED_LOGINS = ("root", "user", "ubuntu", "admin", "runner")  # they name nobody
SECRETS = {
    "a Hub token": re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}"),
    "an API key": re.compile(r"\b(?:sk-[\w-]{20,}|gh[pousr]_\w{36,}|AKIA[0-9A-Z]{16})"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}


def scan(
    folder: Path,
    patterns: tuple[str, ...] = STAGED,
    user: str | None = None,
    owners: Collection[str] = (),
    token: str | None = None,
) -> None:
    """Refuse a folder with a file that does not belong, a secret, an absolute path or a user name.

    `user` is the login name (default: this session's); `owners` of repositories may be named.
    """
    user = _login() if user is None else user
    findings = []
    for name in files_in(folder):
        if not belongs(name, patterns):
            findings.append(f"{name} does not belong on the Hub")
            continue
        for text in _texts(folder / name):
            findings += [f"{name} holds {what}" for what in _private(text, user, owners, token)]
    if findings:
        raise UserError(
            f"not published, '{folder}' must not go public: {'; '.join(findings)}."
            " Take it out of the file that this was staged from"
        )


def _private(text: str, user: str, owners: Collection[str], token: str | None) -> Iterator[str]:
    """What in a text must not go public, in words that do not repeat a secret."""
    for what, pattern in SECRETS.items():
        if pattern.search(text) or (what == "a Hub token" and token and token in text):
            yield what
    if path := ABSOLUTE_PATH.search(text):
        yield f"the absolute path {path[0]}"
    if not user or user in (*owners, *SHARED_LOGINS):
        return
    # A login name is a word like any other: it tells only where a path, a host or a key names it.
    name = re.escape(user)
    places = rf"[/\\]{name}[/\\]|\b{name}@\w|\buser(?:_?name)?\b\W{{1,4}}{name}\b"
    if re.search(places, text):
        yield f"the user name {user}"


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return ""


def _texts(path: Path) -> Iterator[str]:
    """What a file holds as text; of binary files the words only, since bytes look like anything."""
    if path.suffix == ".safetensors":
        yield json.dumps(safetensors_header(path).get("__metadata__", {}))
    elif path.suffix == ".png":
        try:
            with Image.open(path) as image:
                yield from map(str, image.info.values())
        except OSError as error:
            raise UserError(f"'{path}' is not a picture: draw it again") from error
    elif path.suffix == ".parquet":
        yield from _columns_of_words(path)
    elif path.suffix == ".onnx":
        yield _graph(path)
    elif path.suffix == ".flac":
        yield ""  # made by prepare_dataset.py from samples alone: it has no tags
    elif "tfevents" in path.name:
        for event in events_of(path):
            yield " ".join(
                f"{value.tag} {value.tensor.string_val}" for value in event.summary.value
            )
    elif path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            yield "\n".join(cell for row in csv.reader(file) for cell in row)
    else:
        yield path.read_text(encoding="utf-8", errors="replace")


def _graph(path: Path) -> str:
    """An ONNX file without its weights, as text."""
    import onnx

    model = onnx.load(path)
    for weights in model.graph.initializer:
        weights.ClearField("raw_data")
    return str(model)


def _columns_of_words(path: Path) -> Iterator[str]:
    """The strings of a Parquet file, its clips' file names among them."""
    schema = pq.read_schema(path)
    words = [field.name for field in schema if pa.types.is_string(field.type)]
    structs = [field for field in schema if pa.types.is_struct(field.type)]
    words += [f"{field.name}.path" for field in structs if field.type.get_field_index("path") >= 0]
    for column in pq.read_table(path, columns=words).flatten().columns:
        yield "\n".join(sorted(set(column.drop_null().to_pylist())))
