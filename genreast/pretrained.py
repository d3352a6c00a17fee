"""A model from its folder or the Hub, checked before it is used or trained further.

Only safetensors are read and no remote code is run. What cannot be used is refused in words: no
such model, no audio classification, no label names.
"""

import contextlib
import hashlib
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genreast.audio import SAMPLING_RATE
from genreast.errors import UserError, one_line
from genreast.hub_ids import could_be_on_the_hub, not_asked, split_revision
from genreast.hub_refusals import hub_words, refusal_of_home

MODEL_TYPE = "audio-spectrogram-transformer"
ONE_LABEL = "single_label_classification"  # whose scores are a softmax
CONFIG_FILE = "config.json"
EXTRACTOR_FILE = "preprocessor_config.json"
WEIGHTS_FILE = "model.safetensors"
MODEL_FILES = (CONFIG_FILE, WEIGHTS_FILE, EXTRACTOR_FILE)  # all that a model is loaded from
RECORD_FILE = "training_config.yaml"  # what made it


def load(name: str) -> tuple[Any, Any]:
    """The `ASTForAudioClassification` in float32, ready to evaluate, and its feature extractor.

    Raises UserError as `read_config` and `load_ast` do, and when it is no genre classifier.
    """
    check_classifier(name, read_config(name))
    if Path(name).is_dir():
        _check_file(name, EXTRACTOR_FILE)
        _check_file(name, WEIGHTS_FILE)
    from transformers import ASTFeatureExtractor

    with _faults(name), warnings.catch_warnings():
        # 128 bins over 257 frequencies leave the lowest filters empty; AST was trained so.
        warnings.filterwarnings("ignore", message="At least one mel filter")
        repo_id, revision = split_revision(name)
        extractor = ASTFeatureExtractor.from_pretrained(repo_id, revision=revision)
    model, missing = load_ast(name)
    if missing:
        raise UserError(
            f"model '{name}' has no trained '{missing[0]}': it is not a finished audio classifier; "
            "fine-tune it first with train_hf.py"
        )
    _check_extractor(name, model.config, extractor)
    return model.eval(), extractor


def read_config(name: str) -> dict[str, Any]:
    """The config.json of an AST in a folder or on the Hub.

    Raises UserError when there is no such model, the Hub cannot be reached, or it is no AST.
    """
    if Path(name).is_dir():
        _check_file(name, CONFIG_FILE)
    elif Path(name).exists():
        raise UserError(f"model '{name}' is a file; expected a model folder or a Hub id")
    elif not could_be_on_the_hub(name):
        raise UserError(
            f"model '{name}' is not there{not_asked(name)}: expected a model folder or a Hub id,"
            " USER/NAME[@REVISION]"
        )
    from transformers import PreTrainedConfig

    try:
        repo_id, revision = split_revision(name)
        config = PreTrainedConfig.get_config_dict(repo_id, revision=revision)[0]
    except (OSError, ValueError, TypeError) as error:  # the last for a config that is null
        raise UserError(f"model '{name}' {hub_words(error)}") from error
    if not isinstance(config, dict):
        raise UserError(f"the {CONFIG_FILE} of model '{name}' is no object; copy it again")
    kind = config.get("model_type")
    if kind != MODEL_TYPE:
        raise UserError(f"model '{name}' is of type '{kind}'; expected '{MODEL_TYPE}'")
    _check_settings(name, config)
    return config


def load_ast(name: str, **options) -> tuple[Any, list[str]]:
    """The `ASTForAudioClassification` in float32, and its weights that `name` has not, sorted.

    `options` are those of transformers' `from_pretrained`. Raises UserError when the files are
    damaged or do not fit each other.
    """
    from transformers import ASTForAudioClassification
    from transformers.utils import logging

    repo_id, revision = split_revision(name)
    options |= {"dtype": "float32", "use_safetensors": True, "revision": revision}
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # reading one file from disk: nothing to wait for
    try:
        with _faults(name):
            model, report = ASTForAudioClassification.from_pretrained(
                repo_id, output_loading_info=True, **options
            )
    finally:
        if shown:
            logging.enable_progress_bar()
    return model, sorted(report["missing_keys"])


@contextlib.contextmanager
def _faults(name: str) -> Iterator[None]:
    """Turn what goes wrong in loading a model's files into a UserError."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise UserError(
            f"the weights of model '{name}' are cut short or no safetensors ({one_line(error)});"
            " download or copy them again"
        ) from error
    except Exception as error:  # of any kind, where a file is not as transformers wrote it
        words = refusal_of_home(error) or one_line(error)
        if "ignore_mismatched_sizes" in words:
            words = f"its weights have other shapes than its {CONFIG_FILE} says"
        raise UserError(f"model '{name}' cannot be loaded: {words}") from error


def check_classifier(name: str, config: dict[str, Any]) -> None:
    """Refuse a model whose outputs are not the probabilities of genres with names."""
    named = config.get("architectures") or ["ASTForAudioClassification"]
    architecture = named[0] if isinstance(named, list) else named
    if architecture != "ASTForAudioClassification":
        raise UserError(
            f"model '{name}' is a bare {architecture}, not audio classification; "
            "fine-tune it first with train_hf.py"
        )
    problem = config.get("problem_type") or ONE_LABEL
    if problem != ONE_LABEL:
        raise UserError(
            f"model '{name}' is of problem_type '{problem}' (in its {CONFIG_FILE}); expected one "
            "genre a song; fine-tune it first with train_hf.py"
        )
    labels = config.get("id2label") or {}
    numbered = isinstance(labels, dict)
    names = list(labels.values()) if numbered else []
    if numbered and all(str(each).startswith("LABEL_") for each in names):
        raise UserError(
            f"model '{name}' has no label names (id2label in its config.json); write them there"
        )
    numbers = {str(number) for number in range(len(names))}
    named = all(isinstance(each, str) and each.strip() for each in names)
    if not numbered or set(labels) != numbers or not named or len(set(names)) < len(names):
        raise UserError(
            f"the id2label in the {CONFIG_FILE} of model '{name}' is {str(labels)[:200]}; expected "
            'the numbers from 0, each with a name of its own, as in {"0": "jazz", "1": "rock"}'
        )


def label_names(model: Any) -> list[str]:
    """The genres in the order of the model's outputs."""
    return [model.config.id2label[index] for index in range(model.config.num_labels)]


def genres_of(config: dict) -> list[str]:
    """The genres that a config.json names, in the order of the model's outputs."""
    labels = config["id2label"]
    return [labels[number] for number in sorted(labels, key=int)]


def holds_weights(folder: Path) -> bool:
    """Whether a folder's weights, and the config they belong to, are there and not cut short.

    Raises PermissionError where that may not be looked at.
    """
    try:
        json.loads((folder / CONFIG_FILE).read_text())
        _check_readable(folder / WEIGHTS_FILE)
        with open_weights(folder / WEIGHTS_FILE):
            return True
    except PermissionError:
        raise
    except (OSError, ValueError, UserError):
        return False


def open_weights(path: Path) -> Any:
    """A safetensors file, of which the header alone is read: it tells whether the file is whole."""
    from safetensors import SafetensorError, safe_open

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


def check_kinds(name: str | Path, content: dict, kinds: dict[str, type]) -> None:
    """Refuse a file of ours whose `content` holds, under a key of `kinds`, something of another
    type that is not null either.
    """
    for key, kind in kinds.items():
        if not isinstance(content.get(key), kind | None):
            raise UserError(
                f"'{name}' is damaged or edited: its '{key}' is a {type(content[key]).__name__};"
                f" expected a {kind.__name__}"
            )


def share_weights(folder: Path) -> None:
    """Let whoever may read a folder's config read its weights: safetensors makes files that nobody
    but their owner may read.
    """
    with contextlib.suppress(OSError):  # a disk without modes, or another user's file
        (folder / WEIGHTS_FILE).chmod((folder / CONFIG_FILE).stat().st_mode)


def weights_fingerprint(name: str | Path) -> str:
    """sha256 of a model's weights file, which tells whether results belong to it."""
    if Path(name).is_dir():
        path = Path(name) / WEIGHTS_FILE
    else:
        from huggingface_hub import hf_hub_download

        repo_id, revision = split_revision(name)
        path = Path(hf_hub_download(repo_id, WEIGHTS_FILE, revision=revision))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_file(name: str, file: str) -> None:
    if not (Path(name) / file).is_file():
        raise UserError(f"'{name}' is no model folder: it holds no {file}")
    _check_readable(Path(name) / file)


def _check_readable(path: Path) -> None:
    """Raise OSError where a file may not be read: safetensors would say that there is none."""
    path.open("rb").close()


def _check_settings(name: str, config: dict[str, Any]) -> None:
    """Refuse a config.json that no AST can be made of, or no window of sound cut by."""
    from transformers import ASTConfig

    labels = ("id2label", "label2id")  # `check_classifier` says more of them
    with _faults(name):
        ASTConfig.from_dict({key: value for key, value in config.items() if key not in labels})
    seconds = config.get("clip_seconds")
    if seconds is not None and not (_is_number(seconds) and seconds > 0):
        raise UserError(
            f"clip_seconds in the {CONFIG_FILE} of model '{name}' is {seconds!r}; expected seconds"
            " above 0, or none"
        )


def _check_extractor(name: str, config: Any, extractor: Any) -> None:
    faults = [
        f"{key} {found} in {EXTRACTOR_FILE}, {expected} in the model"
        for key, found, expected in [
            ("max_length", extractor.max_length, config.max_length),
            ("num_mel_bins", extractor.num_mel_bins, config.num_mel_bins),
            ("sampling_rate", extractor.sampling_rate, SAMPLING_RATE),
        ]
        if found != expected
    ]
    mean, std = extractor.mean, extractor.std
    if not (_is_number(mean) and _is_number(std) and std > 0):
        faults.append(f"mean {mean!r} and std {std!r} in it; expected numbers, std above 0")
    if faults:
        raise UserError(f"model '{name}' does not fit its features: {'; '.join(faults)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
