"""A validation split for a dataset that has none: held out in training, found again afterwards."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict
from sklearn.model_selection import StratifiedGroupKFold

from genreast.config import read_yaml
from genreast.data.audiofolder import dataset_fingerprint
from genreast.hub_files import file_of
from genreast.pretrained import RECORD_FILE

RESUME_FILE = "resume_settings.json"  # of a checkpoint


def with_validation(splits: DatasetDict, seed: int) -> DatasetDict:
    """Hold a tenth of train's groups out, by genre, where a dataset has no validation split.

    One group at least, of any number; a genre of one group stays in train. Where no group can be
    spared the splits are returned as they are.
    """
    if "validation" in splits or "train" not in splits:
        return splits
    train = splits["train"]
    labels, groups = np.asarray(train["label"]), np.asarray(train["group"])
    single = [label for label in np.unique(labels) if len(np.unique(groups[labels == label])) == 1]
    free = np.flatnonzero(~np.isin(groups, groups[np.isin(labels, single)]))
    for fold in _folds(labels[free], groups[free], seed):
        held_out = free[fold]
        lost = np.setdiff1d(labels[held_out], np.delete(labels, held_out))
        held_out = held_out[~np.isin(groups[held_out], groups[np.isin(labels, lost)])]
        if len(held_out):
            rows = {"train": np.delete(np.arange(len(train)), held_out), "validation": held_out}
            parts = {name: train.select(chosen) for name, chosen in rows.items()}
            return DatasetDict({**splits, **parts})
    return splits


def _folds(labels: np.ndarray, groups: np.ndarray, seed: int) -> list[np.ndarray]:
    """The rows of each tenth of the groups, or of larger parts where there are fewer."""
    count = min(10, len(np.unique(groups)), np.bincount(labels).max(initial=0))
    if count < 2:
        return []
    folds = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        return [fold for _, fold in folds.split(labels, labels, groups)]


def as_trained(splits: DatasetDict, record: dict[str, Any]) -> DatasetDict:
    """The splits as a model's training saw them: with the validation split it held out, if it did.

    A `training_record` of other clips, or one that does not say, leaves the splits as they are.
    """
    seed = seed_as_trained(splits, record)
    return splits if seed is None else with_validation(splits, seed)


def seed_as_trained(splits: DatasetDict, record: dict[str, Any]) -> int | None:
    """The seed by which a model's training held a validation split out of these very splits, if it
    did, by its `training_record`."""
    if "validation" in splits or not record:
        return None
    data = record["dataset"]
    seed = data.get("held_out_by_seed", record["settings"].get("seed"))
    if seed is None:
        return None
    again = dataset_fingerprint(with_validation(splits, seed))
    held_out = again != dataset_fingerprint(splits)
    return seed if held_out and again == data.get("fingerprint_as_trained") else None


def training_record(name: str) -> dict[str, Any]:
    """What made a model, from its `training_config.yaml`; of a checkpoint of a run, which has none
    yet, the seed and the clips it was trained on. Empty where nothing of this project's is there.

    Raises UserError where the Hub does not say, or the file cannot be read.
    """
    path = file_of(name, RECORD_FILE)
    record = read_yaml(path) if path else _record_of_checkpoint(Path(name))
    ours = all(isinstance(record.get(part), dict) for part in ("settings", "dataset"))
    return record if ours else {}


def saved_settings(checkpoint: str | Path) -> dict[str, Any] | None:
    """The settings that a checkpoint was made with; None where a run was killed between the
    Trainer's last file and ours, or the file is not as a run writes it."""
    try:
        saved = json.loads((Path(checkpoint) / RESUME_FILE).read_text())
    except (OSError, ValueError):
        return None
    whole = isinstance(saved, dict) and {"--optim", "--seed", "held out"} <= saved.keys()
    return saved if whole else None


def _record_of_checkpoint(folder: Path) -> dict[str, Any]:
    saved = saved_settings(folder)
    if saved is None:
        return {}
    seed, clips = saved["--seed"], saved["held out"]
    held_out_by = saved.get("held out by seed", seed)
    data = {"fingerprint_as_trained": clips, "held_out_by_seed": held_out_by}
    return {"settings": {"seed": seed}, "dataset": data}
