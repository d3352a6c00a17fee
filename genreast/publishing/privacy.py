"""What must not go public: every file that is to be published is searched for it."""

import contextlib
import csv
import getpass
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from PIL import Image

from genreast.data.song_table import SONGS_FILE
from genreast.data.table_faults import table_faults
from genreast.errors import UserError
from genreast.pretrained import CONFIG_FILE, open_weights, read_json
from genreast.publishing.redaction import ABSOLUTE_PATH, events_of
from genreast.publishing.staging import STAGED
from genreast.publishing.staging_folder import belongs, files_in
from genreast.tables import normalised

SHARED_LOGINS = ("root", "user", "ubuntu", "admin", "runner")  # they name nobody
SECRETS = {
    "a Hub token": re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}"),
    "an API key": re.compile(r"\b(?:sk-[\w-]{20,}|gh[pousr]_\w{36,}|AKIA[0-9A-Z]{16})"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
ESCAPED = re.compile(r"\\([\\`*_\[\]<>&|~])")  # as pages show a genre's name letter by letter


def scan(
    folder: Path,
    patterns: tuple[str, ...] = STAGED,
    user: str | None = None,
    owners: Collection[str] = (),
    token: str | None = None,
) -> None:
    """Refuse a folder with a file that does not belong, a secret, an absolute path or a user name.

    `user` is the login name (default: this session's); `owners` of repositories may be named.
    Genres, and the songs' paths in their library, may look like a path or a user name: they pass.
    """
    user = _login() if user is None else user
    genres, places = _library(folder)
    astray = sorted(place for place in places if _leads_out(place))
    findings = [f"{SONGS_FILE} holds {path}, a path out of the library" for path in astray[:1]]
    names = {normalised(name) for name in genres | places if not _leads_out(name)}
    for name in files_in(folder):
        if not belongs(name, patterns):
            findings.append(f"{name} does not belong on the Hub")
            continue
        for text in _texts(folder / name):
            findings += [
                f"{name} holds {what}" for what in _private(text, names, user, owners, token)
            ]
    if findings:
        raise UserError(
            f"not published, '{folder}' must not go public: {'; '.join(findings)}."
            " Take it out of the file that this was staged from"
        )


def _private(
    text: str, names: Collection[str], user: str, owners: Collection[str], token: str | None
) -> Iterator[str]:
    """What in a text must not go public, in words that do not repeat a secret."""
    for what, pattern in SECRETS.items():
        if pattern.search(text) or (what == "a Hub token" and token and token in text):
            yield what
    if path := _outside(names, ABSOLUTE_PATH, text):
        yield f"the absolute path {path[0]}"
    if not user or user in (*owners, *SHARED_LOGINS):
        return
    # A login name is a word like any other: it tells only where a path, a host or a key names it.
    name = re.escape(user)
    places = rf"[/\\]{name}[/\\]|\b{name}@\w|\buser(?:_?name)?\b\W{{1,4}}{name}\b"
    # A library that begins at the root or above the homes has the user's own among its folders.
    home = re.compile(rf"(?:^|/)(?:home|Users)/{name}(?:/|$)")
    if _outside([each for each in names if not home.search(each)], re.compile(places), text):
        yield f"the user name {user}"


def _outside(names: Collection[str], pattern: re.Pattern, text: str) -> re.Match | None:
    """The first match in a text that does not lie in one of these names."""
    if not pattern.search(text):
        return None
    names = {name for name in names if pattern.search(name)}
    lines = (_without(names, line) if pattern.search(line) else line for line in text.split("\n"))
    return pattern.search("\n".join(lines))


def _without(names: Collection[str], line: str) -> str:
    """A line without these names, where each stands whole and is no part of a longer path."""
    plain = ESCAPED.sub(r"\1", normalised(line))
    if plain in names:  # a cell of a table, as most are
        return ""
    found = sorted((name for name in names if name in plain), key=len, reverse=True)
    for name in found:
        plain = re.sub(rf"(?<![\w/\\]){re.escape(name)}(?![\w/\\])", "…", plain)
    return plain if found else line


def _leads_out(name: str) -> bool:
    """Whether a path is absolute or leads above the folder that it starts in."""
    start = name.lstrip(" \"'`")
    above = ".." in re.split(r"[/\\]", name)
    return above or start.startswith("/") or bool(ABSOLUTE_PATH.match(start))


def _library(folder: Path) -> tuple[set[str], set[str]]:
    """The genres that a staged model or dataset names, and where its songs lay in their library."""
    genres, places = {""}, {""}
    if (folder / CONFIG_FILE).is_file():
        genres |= set((read_json(folder / CONFIG_FILE).get("id2label") or {}).values())
    if (folder / SONGS_FILE).is_file():
        with (folder / SONGS_FILE).open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file, restval=""):
                genres.add(row.get("genre", ""))
                path = row.get("path", "")
                places |= {path, path.rpartition("/")[0]}
    return genres - {""}, places - {""}


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return ""


def _texts(path: Path) -> Iterator[str]:
    """What a file holds as text; of binary files the words only, since bytes look like anything."""
    if path.suffix == ".safetensors":
        with open_weights(path) as weights:
            yield json.dumps(weights.metadata())
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
        text = path.read_text(encoding="utf-8", errors="replace")
        yield "\n".join(_lines(_unquoted(text, path.suffix)))


def _unquoted(text: str, suffix: str) -> Any:
    """What JSON or YAML holds, objects as pairs, for a key may come twice; other text as it is."""
    with contextlib.suppress(ValueError, yaml.YAMLError):
        if suffix == ".json":
            return json.loads(text, object_pairs_hook=list)
        if suffix == ".yaml":
            return yaml.safe_load(text)
    return text


def _lines(content: Any) -> Iterator[str]:
    """The words of what JSON or YAML holds, each value on the line of its key."""
    if isinstance(content, dict):
        content = list(content.items())
    if isinstance(content, list):
        for each in content:
            yield from _lines(each)
    elif isinstance(content, tuple) and isinstance(content[1], dict | list):
        yield str(content[0])
        yield from _lines(content[1])
    elif isinstance(content, tuple):
        yield f"{content[0]}: {content[1]}"
    else:
        yield str(content)


def _graph(path: Path) -> str:
    """An ONNX file without its weights, as text."""
    import onnx

    model = onnx.load(path)
    for weights in model.graph.initializer:
        weights.ClearField("raw_data")
    return str(model)


def _columns_of_words(path: Path) -> Iterator[str]:
    """The strings of a Parquet file, lists of them and its clips' file names; none of its sound."""
    with table_faults(path):
        file = pq.ParquetFile(path)
        leaves = map(file.schema.column, range(len(file.schema)))
        words = [leaf.path for leaf in leaves if leaf.logical_type.type == "STRING"]
        columns = file.read(columns=words).flatten().columns
    for column in columns:
        yield "\n".join(sorted(set(map(str, column.drop_null().to_pylist()))))
