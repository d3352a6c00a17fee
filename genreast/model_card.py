"""The model card: facts read from a model folder and its evaluation → README.md.

The facts are a dataclass grouped by where they come from; `model_card.md` says how they read. A
fact that is not known is None or empty, and the template leaves its sentence or section out.
"""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import ASTConfig

from genreast.audio import SAMPLING_RATE
from genreast.errors import UserError
from genreast.hub_ids import could_be_on_the_hub
from genreast.licenses import check_license
from genreast.model_window import window_samples
from genreast.staging import FIGURES, read_json, safetensors_header
from genreast.summary import number, unit_of

METRICS = {  # key in metrics.json: (name for people, the Hub's metric id)
    "accuracy": ("Accuracy", "accuracy"),
    "balanced_accuracy": ("Balanced accuracy", "balanced_accuracy"),
    "macro_f1": ("Macro F1", "f1"),
    "mean_average_precision": ("Mean average precision", "mean_average_precision"),
    "ece": ("Expected calibration error", "ece"),
}
RECIPE = {  # setting in training_config.yaml: its name in the card's table
    "from_scratch": "size, from random weights",
    "freeze": "frozen",
    "window_seconds": "window, s",
    "num_train_epochs": "epochs",
    "max_steps": "steps",
    "learning_rate": "learning rate",
    "lr_scheduler_type": "schedule",
    "warmup_steps": "warm-up",
    "layer_decay": "learning rate of a layer against the one above",
    "per_device_train_batch_size": "batch size a device",
    "gradient_accumulation_steps": "gradient accumulation",
    "weight_decay": "weight decay",
    "loss": "loss",
    "label_smoothing_factor": "label smoothing",
    "class_weights": "class weights",
    "sampling_exponent": "sampling exponent (1 balances the genres)",
    "mixup_alpha": "mixup, alpha",
    "mixup_probability": "mixup, share of batches",
    "mask_time_frames": "longest time mask, frames of 10 ms",
    "mask_mel_bins": "widest frequency mask, mel bins",
    "gain_db": "random gain, dB",
    "time_roll": "time roll",
    "patchout": "patches left out",
    "average_checkpoints": "checkpoints averaged",
    "bf16": "bf16",
    "fp16": "fp16",
    "seed": "seed",
}
SEEN = {  # split: what training had to do with it
    "train": ", on which it was trained",
    "validation": ", which also picked the best checkpoint",
    "test": ", which the training did not see",
}
POOLED = {  # --pooling of the evaluation: how it reads
    "log_probability": " by the mean of their log-probabilities",
    "probability": " by the mean of their probabilities",
    "vote": " by vote",
}
SPLIT_FACTS = {  # key under dataset.preparation in training_config.yaml: how it reads
    "genre_by": "a song's genre: by {}",
    "group_by": "never in two splits: songs of one {}",
    "seed": "seed: {}",
    "duplicates": "recordings left out as duplicates: {}",
    "clip_seconds": "clips of {} s",
}
GROUPS = {  # what preparation grouped by: what a group of its split is
    "song": "each a song with its near copies",
    "artist": "each the songs of one artist",
    "album": "each the songs of one album",
    "folder": "each the songs of one folder",
}
FEW_TRAIN_SONGS = 20  # a genre with fewer is named as rare
NAMED = 5  # genres that a sentence lists; of more it gives the number
FEW_TEST_SONGS = 10  # a genre's own scores on fewer are hardly more than anecdotes


@dataclass
class ModelFacts:
    """Everything a model card says."""

    # Given by the user
    repo_id: str
    license: str | None = None
    dataset_repo: str | None = None

    # The model folder
    genres: list[str] = field(default_factory=list)
    window_seconds: float = 10.0
    parameters: int | None = None

    # training_config.yaml
    base_model: str | None = None
    trained_on: str | None = None  # a dataset on the Hub
    songs: dict[str, dict[str, int]] = field(default_factory=dict)  # split → genre → songs
    preparation: dict[str, Any] = field(default_factory=dict)  # how the splits were made
    recipe: dict[str, str] = field(default_factory=dict)
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
    def measured_dataset(self) -> str | None:
        """The Hub dataset that the scores were measured on, where it is known."""
        if self.same_dataset is False:
            return None
        return self.dataset_repo or (self.trained_on if self.same_dataset else None)

    @property
    def measured_on(self) -> str:
        """What the scores were measured on, and what training had to do with it."""
        if self.same_dataset is False:
            return f"the {self.split} split of another dataset than the training's"
        name = self.measured_dataset
        of = f" of [{name}](https://huggingface.co/datasets/{name})" if name else ""
        seen = SEEN.get(self.split, "") if self.same_dataset else ""
        return f"the {self.split} split{of}{seen}"

    @property
    def pooled(self) -> str:
        """How a song's answer is made of its clips', with a space before it; empty if unknown."""
        return POOLED.get(self.pooling, "")

    @property
    def split_facts(self) -> list[str]:
        given = self.preparation
        known = {key: _plain(given[key]) for key in SPLIT_FACTS if key in given}
        facts = [SPLIT_FACTS[key].format(value) for key, value in known.items()]
        unlike = {
            "songs of one song": "clips of one song",
            "one own group": "one group",
            "by own table": "by a table",
        }
        for words, better in unlike.items():
            facts = [fact.replace(words, better) for fact in facts]
        return facts

    @property
    def rare_genres(self) -> str | None:
        return few(self.songs.get("train", {}), FEW_TRAIN_SONGS)

    @property
    def barely_tested(self) -> str | None:
        scores = self.metrics.get(self.unit, {}).get("per_class", {})
        return few({genre: scores[genre]["support"] for genre in scores}, FEW_TEST_SONGS)

    @property
    def song_table(self) -> tuple[list, list[list]]:
        """Songs a genre and split, and their sum."""
        rows = [[g, *(counts.get(g, 0) for counts in self.songs.values())] for g in self.genres]
        total = ["all", *(sum(counts.values()) for counts in self.songs.values())]
        return ["genre", *self.songs], [*rows, total]

    @property
    def metric_table(self) -> tuple[list, list[list]]:
        """Each metric on songs and on clips, with its interval where known."""
        counts = {unit: scores.get("count") for unit, scores in self.metrics.items()}
        header = ["", *(f"{n} {unit}s" if n else f"{unit}s" for unit, n in counts.items())]
        keys = [key for key in METRICS if any(key in scores for scores in self.metrics.values())]
        return header, [[METRICS[k][0], *(self._cell(u, k) for u in self.metrics)] for k in keys]

    def _cell(self, unit: str, key: str) -> str:
        interval = self.intervals.get(unit, {}).get(key)
        brackets = " ({:.3f} to {:.3f})".format(*interval) if interval else ""
        return number(self.metrics[unit].get(key)) + brackets

    @property
    def bootstrap(self) -> str | None:
        """How the intervals in the metrics' table were drawn; None where it has none."""
        units = [self.intervals.get(unit, {}) for unit in self.metrics]
        drawn = [spans for spans in units if any(spans.get(key) for key in METRICS)]
        if not drawn:
            return None
        words = f"bootstrap over {drawn[0].get('groups', 'the')} groups"
        each = GROUPS.get(self.preparation.get("group_by")) if self.same_dataset else None
        return f"{words}, {each}" if each else words

    @property
    def genre_table(self) -> tuple[list, list[list]] | None:
        """Each genre's own scores, on songs where they were measured."""
        unit = next(iter(self.metrics), None)
        per_class = self.metrics.get(unit, {}).get("per_class")
        if not per_class:
            return None
        keys = ["precision", "recall", "f1", "average_precision"]
        rows = [
            [genre, scores["support"], *(number(scores.get(key)) for key in keys)]
            for genre, scores in per_class.items()
        ]
        return ["genre", f"{unit}s", "precision", "recall", "F1", "average precision"], rows

    @property
    def onnx_table(self) -> tuple[list, list[list]]:
        """Size, speed and distance from PyTorch of each file that holds the weights."""
        header = ["file", "numbers", "size, MB", "one window, ms", "largest move of a probability"]
        rows = []
        for row in self.onnx["files"]:
            moved = row.get("largest_probability_difference")
            size, time = f"{row['bytes'] / 1e6:.1f}", f"{1000 * row['seconds']:.0f}"
            moved = "–" if moved is None else f"{moved:.2g}"
            rows.append([row["file"], row["precision"], size, time, moved])
        return header, rows


def read_facts(
    staged: Path,
    repo_id: str,
    license: str | None = None,
    dataset_repo: str | None = None,
) -> ModelFacts:
    """Gather a card's facts from a staging folder, which holds all that may be told."""
    config = read_json(staged / "config.json")
    tensors = safetensors_header(staged / "model.safetensors")
    training = _read(staged / "training_config.yaml", yaml.safe_load)
    evaluation = _read(staged / "metrics.json", json.loads)
    labels, settings = config["id2label"], training.get("settings") or {}
    data = training.get("dataset") or {}
    base_model = training.get("base_model")
    dataset = data.get("name") if data.get("on_hub") else None
    unit = unit_of(evaluation)
    levels = ("song", "clip") if unit == "song" else ("clip",)
    trained, measured = data.get("fingerprint"), evaluation.get("dataset_fingerprint")
    return ModelFacts(
        repo_id=repo_id,
        license=license,
        dataset_repo=dataset_repo,
        genres=[labels[key] for key in sorted(labels, key=int)],
        window_seconds=window_samples(ASTConfig.from_dict(config)) / SAMPLING_RATE,
        parameters=sum(
            math.prod(entry["shape"]) for key, entry in tensors.items() if key != "__metadata__"
        ),
        base_model=base_model if could_be_on_the_hub(base_model) else None,
        trained_on=dataset if could_be_on_the_hub(dataset) else None,
        songs={split: counts["songs"] for split, counts in (data.get("splits") or {}).items()},
        preparation=data.get("preparation") or {},
        recipe=_recipe(settings),
        versions=training.get("versions") or {},
        split=evaluation.get("split"),
        same_dataset=trained == measured if trained and measured else None,
        unit=unit,
        pooling=evaluation.get("pooling"),
        metrics={level: evaluation[level] for level in levels if level in evaluation},
        intervals=evaluation.get("confidence_intervals") or {},
        onnx=_read(staged / "onnx" / "measurements.json", json.loads),
        figures=sorted(path.stem for path in (staged / "figures").glob("*.png")),
    )


def card_data(facts: ModelFacts) -> ModelCardData:
    """The metadata block: what the Hub's search, widget and leaderboards read."""
    tags = ["audio-classification", "music", "music-genre-classification", "genreast"]
    tags += ["onnx", "transformers.js"] if facts.onnx else []
    dataset = facts.dataset_repo or facts.trained_on
    return ModelCardData(
        license=facts.license,
        base_model=facts.base_model,
        base_model_relation="finetune" if facts.base_model else None,
        datasets=[dataset] if dataset else None,
        pipeline_tag="audio-classification",
        library_name="transformers",
        metrics=["accuracy", "f1"] if facts.metrics else None,
        tags=tags,
        model_name=facts.name if facts.metrics else None,
        eval_results=_eval_results(facts) or None,
    )


def _eval_results(facts: ModelFacts) -> list[EvalResult]:
    """One result a metric and unit: song and clip scores are different measures."""
    results = []
    dataset = facts.measured_dataset
    for unit, scores in facts.metrics.items():
        for key, (name, metric_id) in METRICS.items():
            if not isinstance(scores.get(key), int | float):
                continue
            interval = facts.intervals.get(unit, {}).get(key)
            rounded = [round(bound, 4) for bound in interval] if interval else None
            arguments = {"unit": unit, "confidence_interval_95": rounded}
            results.append(
                EvalResult(
                    task_type="audio-classification",
                    task_name="Music genre classification",
                    dataset_type=dataset or "audiofolder",
                    dataset_name=dataset or f"the songs of {facts.name}",
                    dataset_split=facts.split or "test",
                    metric_type=metric_id,
                    metric_name=f"{name} per {unit}",
                    metric_value=round(scores[key], 4),
                    metric_args=arguments,
                )
            )
    return results


def render(facts: ModelFacts, template: Path) -> str:
    """The whole README.md. Raises UserError for an unknown licence id."""
    check_license(facts.license)
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False
    )
    environment.filters["literal"] = literal
    captions = {name: shown.replace("songs", f"{facts.unit}s") for name, shown in FIGURES.items()}
    body = environment.from_string(template.read_text(encoding="utf-8")).render(
        facts=facts, captions=captions, few_train=FEW_TRAIN_SONGS, few_test=FEW_TEST_SONGS
    )
    body = re.sub(r"\n{3,}", "\n\n", body.strip())
    return str(ModelCard(f"---\n{card_data(facts).to_yaml()}\n---\n\n{body}\n"))


def literal(text: Any) -> str:
    """A text as Markdown that shows it letter by letter, in a sentence or a table: a genre named
    `*x*` or `<b>` is a name."""
    return re.sub(r"[\\`*_\[\]<>&|~]", r"\\\g<0>", " ".join(str(text).split()))


def few(counts: dict[str, int], least: int) -> str | None:
    """The genres with fewer than `least` songs, in words; None when there is none."""
    rare = {genre: n for genre, n in counts.items() if n < least}
    if not rare:
        return None
    if len(rare) <= NAMED:
        return ", ".join(f"{genre} ({n})" for genre, n in rare.items())
    rarest = min(rare, key=rare.get)
    return f"{len(rare)} of {len(counts)} genres, the rarest being {rarest} ({rare[rarest]})"


def _recipe(settings: dict[str, Any]) -> dict[str, str]:
    """The settings worth a row: those of `RECIPE` that are neither unset nor turned off."""
    off = dict.fromkeys(RECIPE, (None, "none", False, 0, -1))
    off |= {"seed": (None,), "layer_decay": (None, 1)}
    if not settings.get("mixup_alpha"):
        settings = {**settings, "mixup_probability": None}
    found = {key: settings.get(key) for key in RECIPE}
    rows = {RECIPE[key]: value for key, value in found.items() if value not in off[key]}
    if RECIPE["max_steps"] in rows:  # the Trainer then counts no epochs
        rows.pop(RECIPE["num_train_epochs"], None)
    return {name: _plain(value) for name, value in rows.items()}


def _plain(value: Any) -> str:
    if value is True:
        return "yes"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _read(path: Path, parse) -> dict:
    """What a staged file holds; empty where it is not there."""
    try:
        content = parse(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"'{path.name}' cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content or {}, dict):
        raise UserError(
            f"'{path.name}' holds a {type(content).__name__}; expected settings by name"
        )
    return content or {}
