"""The model folder a run leaves: a plain Hub model, the settings that made it, and its metrics."""

import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import torch
import yaml
from datasets import DatasetDict

from genreast.config import own_settings
from genreast.hub_files import commit_of
from genreast.pretrained import CONFIG_FILE, RECORD_FILE, share_weights
from genreast.training.imbalance import class_counts
from genreast.training.progress import learning_curves
from genreast.training.recipe import TrainArguments
from genreast.training.run_folder import METRICS_FILE
from genreast.training.trainer import GenreTrainer
from genreast.versions import git_commit, versions


def save(
    trainer: GenreTrainer,
    folder: Path,
    record: dict,
    metrics: dict[str, float],
    history: list[dict],
    weights: dict | None = None,
) -> None:
    """Write the model folder: each file aside first, `train_metrics.json` as the last.

    `weights` are the model's where it does not hold all of them itself.
    """
    aside = folder / ".saving"
    shutil.rmtree(aside, ignore_errors=True)
    trainer.ast.save_pretrained(aside, state_dict=weights)
    trainer.processing_class.save_pretrained(aside)
    write_yaml(record, aside / RECORD_FILE)
    learning_curves(history, aside / "learning_curves.png")
    epochs = [entry for entry in history if "eval_loss" in entry]
    content = {"best": metrics, "history": epochs, "steps": trainer.state.global_step}
    (aside / METRICS_FILE).write_text(json.dumps(content, indent=2) + "\n")
    names = sorted(path.name for path in aside.iterdir() if path.name != METRICS_FILE)
    for name in [*names, METRICS_FILE]:
        os.replace(aside / name, folder / name)
    aside.rmdir()
    share_weights(folder)


def training_config(
    args: TrainArguments,
    trainer: GenreTrainer,
    splits: DatasetDict,
    about_dataset: dict,
    before: dict[int, dict],
) -> dict:
    """What made the model: settings, data, versions. Nothing in it names this machine or user.

    `before` are settings that were others up to a step, from which the run was resumed.
    """
    names, base_model, device = trainer.genres, _base_model(args), trainer.args.device
    songs = {
        split: {
            "clips": named(class_counts(rows["label"], rows["song_id"], len(names)), names),
            "songs": named(class_counts(rows["label"], rows["song_id"], len(names), "song"), names),
        }
        for split, rows in splits.items()
    }
    return {
        "command": shlex.join(portable(word) for word in sys.argv),
        "settings": {key: portable(value) for key, value in own_settings(args).items()},
        "settings_before_step": {
            step: {key: portable(value) for key, value in earlier.items()}
            for step, earlier in before.items()
        },
        "base_model": base_model,
        "base_model_commit": commit_of(base_model, CONFIG_FILE) if base_model else None,
        "dataset": {
            "name": portable(args.dataset),
            "on_hub": not Path(args.dataset).exists(),
            **about_dataset,
            "labels": names,
            "splits": songs,
        },
        "versions": versions(),
        "device": device.type,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "processes": args.world_size,
        "git_commit": git_commit(),
    }


def _base_model(args: TrainArguments) -> str | None:
    """The Hub model that training started from; a folder or file here means nothing elsewhere."""
    start = args.model_name_or_path
    return None if args.from_scratch or Path(start).exists() else start


def named(counts, names: list[str]) -> dict[str, int]:
    """Counts by label name."""
    return {name: int(count) for name, count in zip(names, counts, strict=True)}


def portable(value):
    """A setting as it may be published: a path outside the working folder keeps its name alone.

    So does one behind the equals sign of `--flag=path`.
    """
    if isinstance(value, str) and value.startswith("--") and "=" in value:
        flag, _, path = value.partition("=")
        return f"{flag}={portable(path)}"
    if not isinstance(value, str):
        return value
    path = Path(value)
    if ".." in path.parts:  # `../../alice/songs` names its folders as an absolute path does
        return path.name
    if path.is_absolute():
        inside = path.is_relative_to(Path.cwd())
        return str(path.relative_to(Path.cwd())) if inside else path.name
    return value


def write_yaml(content: dict, path: Path) -> None:
    """A readable YAML file, keys in the order given."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
