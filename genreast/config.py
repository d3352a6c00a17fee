"""Settings: an optional YAML config and command-line flags → one checked dataclass a script.

A config is flags written down: each key is a flag's name, and flags on the command line win. The
dataclasses' defaults are the project's defaults; `configs/base.yaml` writes them out.
"""

import argparse
import copy
import dataclasses
import difflib
import inspect
import json
import os
import sys
import types
from dataclasses import field
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from transformers.hf_argparser import HfArgumentParser

from genreast.errors import UserError, one_line

Settings = TypeVar("Settings")


def option(default: Any, help: str, **metadata: Any) -> Any:
    """A flag with its default and the sentence `--help` shows.

    Given on the command line, it turns off a config's `instead_of`, the name of another flag.
    """
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata={"help": help, **metadata})
    return field(default=default, metadata={"help": help, **metadata})


def positional(help: str, nargs: str = "?") -> Any:
    """An argument without a flag's dashes on the command line, and a plain key in a config."""
    metadata = {"help": help, "positional": nargs}
    if nargs == "*":
        return field(default_factory=list, metadata=metadata)
    return field(default=None, metadata=metadata)


class Faults:
    """The faults of one dataclass's values, gathered so that the user sees all of them at once."""

    def __init__(self):
        self.found: list[str] = []

    def unless(self, condition: Any, message: str) -> None:
        """Note `message` as a fault unless `condition` holds."""
        if not condition:
            self.found.append(message)

    def unless_utf8(self, settings: Any, *names: str) -> None:
        """Note each of these paths that is not UTF-8, as on Linux one need not be: the libraries
        that read and write there take no other."""
        for name in names:
            path = str(getattr(settings, name))
            self.unless(
                path.encode(errors="ignore").decode() == path,
                f"--{name} '{path}' is not UTF-8, which Parquet and safetensors files need; name "
                "another folder, or rename it",
            )

    def report(self) -> None:
        """Raise one UserError that lists every fault, if there is one."""
        if self.found:
            raise UserError("\n       ".join(self.found))


class SettingsParser(HfArgumentParser):
    """HfArgumentParser with positional arguments, grouped flags, and UserError for a usage dump.

    A field's metadata may name its `group` in `--help`; inherited fields come last. A settings
    class names those that `--help` leaves out as its `HIDDEN`.
    """

    def _add_dataclass_arguments(self, dtype: type) -> None:
        groups: dict[str, Any] = {}
        hints = get_type_hints(dtype)
        own = list(inspect.get_annotations(dtype))
        hidden = getattr(dtype, "HIDDEN", ())
        fields = [item for item in dataclasses.fields(dtype) if item.init]
        places = {name: place for place, name in enumerate(own)}
        for original in sorted(fields, key=lambda item: places.get(item.name, len(own))):
            item, metadata = copy.copy(original), dict(original.metadata)
            nargs, title = metadata.pop("positional", None), metadata.pop("group", None)
            metadata.pop("instead_of", None)
            title = title if item.name in own else "every other option of the Trainer"
            if item.name in hidden:
                metadata["help"] = argparse.SUPPRESS
            item.type, item.metadata = hints[item.name], metadata
            if nargs is not None:
                name = item.name.upper()
                self.add_argument(item.name, nargs=nargs, help=metadata["help"], metavar=name)
                continue
            if title and title not in groups:
                groups[title] = self.add_argument_group(title)
            self._parse_dataclass_field(groups.get(title, self), item)
        for action in self._actions:
            if any(name.startswith("--no_") for name in action.option_strings):
                action.help = argparse.SUPPRESS  # the flag itself takes `false`

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Each flag named once, with its default as it is typed, but where that says nothing (None,
    empty)."""

    def _get_help_string(self, action: argparse.Action) -> str:
        default = action.default
        if default in (None, [], argparse.SUPPRESS) or "default" in action.help:
            return action.help
        words = map(_flag_text, default if isinstance(default, list) else [default])
        return f"{action.help} (default: {' '.join(words)})"

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        name = action.option_strings[-1 if action.option_strings[0] == "-h" else 0]
        if action.nargs == 0:
            return name
        kind = {"string_to_bool": "true|false", "str": "text", "int": "integer", "float": "number"}
        few = action.choices and len(action.choices) < 8
        value = "|".join(map(str, action.choices)) if few else ""
        value = value or kind.get(getattr(action.type, "__name__", ""), "value")
        return f"{name} {value}{' …' if action.nargs in ('+', '*') else ''}"


def parse(
    settings: type[Settings], description: str | None = None, argv: list[str] | None = None
) -> Settings:
    """Read `[CONFIG.yaml] [arguments]` into one checked dataclass.

    Raises UserError for an unknown key or flag, a value of the wrong type, one out of range, or an
    empty one.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = SettingsParser(
        settings,
        usage="%(prog)s [CONFIG.yaml] [arguments]",
        description=description,
        allow_abbrev=False,
        formatter_class=lambda prog: HelpFormatter(prog, max_help_position=34, width=100),
    )
    config = argv.pop(0) if argv and _is_config(argv[0]) else ""
    if config:
        _apply_config(parser, settings, Path(config))
    _let_flags_win(parser, settings, argv)
    namespace, unknown = parser.parse_known_intermixed_args(_spell_out_booleans(settings, argv))
    if unknown:
        name = unknown[0].split("=")[0]
        if _is_config(name):
            if config:
                raise UserError(f"'{name}' is a second config after '{config}'; expected one")
            raise UserError(f"a config comes first: {Path(sys.argv[0]).name} {name} …; see --help")
        kind = "flag" if name.startswith("-") else "argument"
        raise UserError(_unknown(name, _flags(settings), kind) + "; see --help")
    _check_not_empty(settings, namespace)
    try:
        return settings(**{name: _in_home(value) for name, value in vars(namespace).items()})
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


def _is_config(word: str) -> bool:
    return word.lower().endswith((".yaml", ".yml"))


def _check_not_empty(settings: type, namespace: argparse.Namespace) -> None:
    """Refuse flags without a text, as of a shell's variable that is not set: as a path it would be
    the folder one stands in, or nothing at all."""
    for item in dataclasses.fields(settings):
        value, flag = getattr(namespace, item.name, None), "positional" not in item.metadata
        if flag and isinstance(value, str) and not value.strip() and value != item.default:
            raise UserError(f"--{item.name} is empty; give it a value, or leave it out")


def _in_home(value: Any) -> Any:
    """`~/songs` as a shell reads it, which it does not in a config, in quotes or after `--flag=`.

    Left as it is it would make a folder that is named `~`.
    """
    if isinstance(value, list):
        return [_in_home(each) for each in value]
    return os.path.expanduser(value) if str(value).startswith("~/") else value


def _let_flags_win(parser: SettingsParser, settings: type, argv: list[str]) -> None:
    """A flag that stands in the place of another wins over a config's; both at once are refused."""
    given = {token.split("=")[0].replace("-", "_") for token in argv if token.startswith("--")}
    for item in dataclasses.fields(settings):
        other = item.metadata.get("instead_of")
        if other is None or f"__{item.name}" not in given:
            continue
        if f"__{other}" in given:
            raise UserError(f"--{item.name} and --{other} exclude each other; leave one out")
        parser.set_defaults(**{other: None})


def _spell_out_booleans(settings: type, argv: list[str]) -> list[str]:
    """`--flag` → `--flag=true` where no value follows, lest it swallow a positional argument."""
    hints = get_type_hints(settings)
    boolean = {f"--{name}" for name, hint in hints.items() if hint in (bool, bool | None)}
    words = {"yes", "no", "true", "false", "t", "f", "y", "n", "1", "0"}
    return [
        f"{token}=true"
        if token.replace("-", "_").replace("__", "--", 1) in boolean and after.lower() not in words
        else token
        for token, after in zip(argv, [*argv[1:], ""], strict=False)
    ]


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file. Raises UserError when it is missing, unreadable, no mapping, or
    says a key twice."""
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except OSError as error:
        raise UserError(f"config '{path}' cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"config '{path}' is not YAML: {one_line(error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(
            f"config '{path}' holds a {type(content).__name__}; expected lines of 'key: value'"
        )
    keys = [key.value for key, _ in yaml.compose(text, yaml.SafeLoader).value]
    if len(set(keys)) < len(keys):  # PyYAML would take the last
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"config '{path}': {twice} stands there twice; leave one out")
    return content


def _apply_config(parser: SettingsParser, settings: type, path: Path) -> None:
    """Make a config's values the parser's defaults, each read as its flag would be."""
    content = read_yaml(path)
    fields = {f.name: f for f in dataclasses.fields(settings) if f.init}
    hints = get_type_hints(settings)
    for key, value in content.items():
        if key not in fields:
            raise UserError(f"config '{path}': {_unknown(str(key), list(fields), 'key')}")
        kinds = _kinds(hints[key])
        if value is None:
            if type(None) not in kinds and fields[key].default is not None:
                raise UserError(
                    f"config '{path}': {key} is empty; give it a value, or leave it out"
                )
            parser.set_defaults(**{key: None})
            continue
        if isinstance(value, list) and list not in kinds:
            raise UserError(f"config '{path}': {key} holds a list; expected one value")
        if value == [] or value == [None]:
            raise UserError(f"config '{path}': {key} is an empty list; name a value, or none")
        if value is False and bool not in kinds:
            value = "no"  # YAML's own reading of an unquoted no
        values = value if isinstance(value, list) else [value]
        if "positional" in fields[key].metadata:
            texts = list(map(str, values))
            parser.set_defaults(**{key: texts if list in kinds else texts[0]})
            continue
        try:
            parsed = parser.parse_args([f"--{key}", *map(_flag_text, values)])
        except UserError as error:
            reason = str(error).removeprefix(f"argument --{key}/--{key.replace('_', '-')}: ")
            reason = reason.removeprefix(f"argument --{key}: ").removesuffix("; see --help")
            raise UserError(f"config '{path}': {key}: {reason}") from error
        parser.set_defaults(**{key: getattr(parsed, key)})


def _kinds(hint: Any) -> list[type]:
    """The types that a hint allows: `int | None` → int and NoneType."""
    union = get_origin(hint) in (Union, types.UnionType)
    return [get_origin(kind) or kind for kind in (get_args(hint) if union else [hint])]


def own_settings(settings: Any) -> dict[str, Any]:
    """The values of a settings object that say what it does: this project's own fields, and those
    inherited from a library that were given, as its `given` names them."""
    own = inspect.get_annotations(type(settings))
    return {
        item.name: _plain(getattr(settings, item.name))
        for item in dataclasses.fields(settings)
        if item.name in own or item.name in settings.given
    }


def given(settings: Any) -> set[str]:
    """The names of the fields that are not at their defaults."""
    fields = dataclasses.fields(settings)
    return {item.name for item in fields if getattr(settings, item.name) != default_of(item)}


def default_of(item: dataclasses.Field) -> Any:
    """A field's default, made anew where it is an object."""
    factory = item.default_factory
    return item.default if factory is dataclasses.MISSING else factory()


def all_settings(settings: Any) -> dict[str, Any]:
    """The values of every field of a settings object, a library's own too."""
    fields = [item.name for item in dataclasses.fields(settings) if item.init]
    return {name: _plain(getattr(settings, name)) for name in fields}


def _plain(value: Any) -> Any:
    """A setting as YAML can hold it: the Trainer turns names into enums, and dicts into objects."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    if isinstance(value, Enum):
        return _plain(value.value)
    if hasattr(value, "to_dict"):
        return _plain(value.to_dict())
    known = value is None or isinstance(value, str | bool | int | float)
    return value if known else str(value)


def _flag_text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | bool) else str(value)


def _flags(settings: type) -> list[str]:
    """As they are typed: `--seed`, and in capitals what is typed without a flag."""
    fields = [f for f in dataclasses.fields(settings) if f.init]
    return [f.name.upper() if "positional" in f.metadata else f"--{f.name}" for f in fields]


def _unknown(name: str, known: list[str], kind: str) -> str:
    plain = {each.lower().lstrip("-"): each for each in known}
    word = name.lstrip("-").replace("-", "_")
    near = [each for each in plain if each.endswith(f"_{word}")]  # batch_size, epochs
    near = near or difflib.get_close_matches(word, plain, n=1)
    found = plain[near[0]] if near else ""
    aside = ", without a flag" if found.isupper() else ""
    return f"unknown {kind} '{name}'" + (f"; did you mean {found}{aside}?" if found else "")
