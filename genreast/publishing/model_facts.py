"""A model's facts, read from a staging folder: what was trained, on what, and what was measured.

A fact that is not known is None or empty. `card_words` says how facts read.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from transformers import ASTConfig

from genreast.audio import SAMPLING_RATE
from genreast.errors import UserError, one_line
from genreast.evaluation.summary import METRICS_FILE, unit_of
from genreast.hub_ids import could_be_on_the_hub, split_revision
from genreast.model_window import longest_window, window_samples
from genreast.pretrained import (
    CONFIG_FILE,
    RECORD_FILE,
    WEIGHTS_FILE,
    check_kinds,
    genres_of,
    open_weights,
    read_json,
)
from genreast.publishing.staging import MEASUREMENTS_FILE, ONNX_DIR

RECORD_KINDS = {  # what is read of training_config.yaml
    **dict.fromkeys(("settings", "dataset", "averaged", "versions"), dict),
    **dict.fromkeys(("base_model", "base_model_commit"), str),
}


@dataclass
class ModelFacts:
    """Everything a model card says."""

    # Given by the user
    repo_id: str
    license: str | None = None
    dataset_repo: str | None = None
    revision: str | None = None  # the branch that the page stands on; None for main

    # The model folder
    genres: list[str] = field(default_factory=list)
    window_seconds: float = 10.0
    longest_seconds: float = 10.0  # of a file that is not cut into windows
    parameters: int | None = None

    # training_config.yaml
    base_model: str | None = None
    base_commit: str | None = None  # of the base model
    trained_on: str | None = None  # a dataset on the Hub
    songs: dict[str, dict[str, int]] = field(default_factory=dict)  # split → genre → songs
    preparation: dict[str, Any] = field(default_factory=dict)  # how the splits were made
    held_out: bool = False  # whether training made its validation split of the train split
    settings: dict[str, Any] = field(default_factory=dict)
    averaged: int | None = None  # checkpoints whose mean the model is
    versions: dict[str, str] = field(default_factory=dict)

    # The evaluation folder
    split: str | None = None
    same_dataset: bool | None = None  # whether it is the training's; None where nothing tells
    unit: str = "song"  # or "clip", where the dataset names no songs
    pooling: str | None = None
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)  # "song" and "clip"
    intervals: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    figures: list[str] = field(default_factory=list)

    # onnx/measurements.json
    onnx: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.repo_id.split("/")[1]

    @property
    def ungrouped(self) -> int:
        """Songs that no group keeps in one split with others that belong to them."""
        return self.preparation.get("songs_without_group") or 0

    @property
    def shares_artists(self) -> bool:
        """Whether songs of one artist may be in two splits."""
        return self.preparation.get("group_by") in ("song", "album") or bool(self.ungrouped)

    @property
    def measured_held_out(self) -> bool:
        """Whether the scores are of what training held out of the train split."""
        return self.held_out and self.split == "validation" and self.same_dataset is True

    @property
    def measured_dataset(self) -> str | None:
        """The Hub dataset that the scores were measured on, where it is known."""
        if self.same_dataset is False:
            return None
        return self.dataset_repo or (self.trained_on if self.same_dataset else None)


def read_facts(
    staged: Path,
    repo_id: str,
    license: str | None = None,
    dataset_repo: str | None = None,
    published: str | None = None,
    revision: str | None = None,
) -> ModelFacts:
    """Gather a card's facts from a staging folder, which holds all that may be told.

    `published` is the fingerprint of the dataset that goes to `dataset_repo`, where one does: one
    that the model was not trained on (or measured on, where that alone is known) is not named.
    """
    config = read_json(staged / CONFIG_FILE)
    model = ASTConfig.from_dict(config)
    with open_weights(staged / WEIGHTS_FILE) as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
    training = _read(staged / RECORD_FILE, yaml.safe_load)
    check_kinds(RECORD_FILE, training, RECORD_KINDS)
    evaluation = _read(staged / METRICS_FILE, json.loads)
    genres, data = genres_of(config), training.get("dataset") or {}
    renamed = dict(zip(data.get("labels") or [], genres, strict=False))  # since the training
    base_model = training.get("base_model")
    dataset = data.get("name") if data.get("on_hub") else None
    unit = unit_of(evaluation)
    levels = ("song", "clip") if unit == "song" else ("clip",)
    trained, measured = data.get("fingerprint"), evaluation.get("dataset_fingerprint")
    averaged = training.get("averaged") or {}
    its_own = trained or measured
    if published and its_own and published != its_own:
        dataset_repo = None
    return ModelFacts(
        repo_id=repo_id,
        license=license,
        dataset_repo=dataset_repo,
        revision=revision,
        genres=genres,
        window_seconds=window_samples(model) / SAMPLING_RATE,
        longest_seconds=longest_window(model) / SAMPLING_RATE,
        parameters=sum(map(math.prod, shapes)),
        base_model=_on_the_hub(base_model),
        base_commit=training.get("base_model_commit"),
        trained_on=_on_the_hub(dataset),
        songs={
            split: {renamed.get(genre, genre): n for genre, n in counts["songs"].items()}
            for split, counts in (data.get("splits") or {}).items()
        },
        preparation=data.get("preparation") or {},
        held_out=trained != data.get("fingerprint_as_trained", trained),
        settings=training.get("settings") or {},
        averaged=averaged["checkpoints"] if averaged.get("kept") else None,
        versions=training.get("versions") or {},
        split=evaluation.get("split"),
        same_dataset=trained == measured if trained and measured else None,
        unit=unit,
        pooling=evaluation.get("pooling"),
        metrics={level: evaluation[level] for level in levels if evaluation.get(level)},
        intervals=evaluation.get("confidence_intervals") or {},
        onnx=_read(staged / ONNX_DIR / MEASUREMENTS_FILE, json.loads),
        figures=sorted(path.stem for path in (staged / "figures").glob("*.png")),
    )


def _on_the_hub(name: str | None) -> str | None:
    """The repository that a name stands for, whichever revision of it, where it can be one."""
    return split_revision(name)[0] if name and could_be_on_the_hub(name) else None


def _read(path: Path, parse) -> dict:
    """What a staged file holds; empty where it is not there."""
    try:
        content = parse(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"'{path.name}' cannot be read: {one_line(error)}") from error
    if not isinstance(content or {}, dict):
        raise UserError(
            f"'{path.name}' holds a {type(content).__name__}; expected settings by name"
        )
    return content or {}
