"""A validation split for a dataset that has none: held out in training, found again afterwards."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from datasets import DatasetDict
from sklearn.model_selection import StratifiedGroupKFold

from genreast.audiofolder import fingerprint

RECORD_FILE = "training_config.yaml"


def with_validation(splits: DatasetDict, seed: int) -> DatasetDict:
    """Hold a tenth of train's groups out, by genre, where a dataset has no validation split.

    A genre of one group stays in train.
    """
    if "validation" in splits or "train" not in splits:
        return splits
    train = splits["train"]
    folds = StratifiedGroupKFold(n_splits=10, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")  # it stays in train
        try:
            kept, held_out = next(folds.split(train["label"], train["label"], train["group"]))
        except ValueError:
            return splits  # too few songs: the check of the splits says so
    labels, groups = np.asarray(train["label"]), np.asarray(train["group"])
    lost = np.setdiff1d(labels[held_out], labels[kept])
    needed = np.isin(groups, groups[np.isin(labels, lost)])
    needed[kept] = True
    parts = {
        "train": train.select(np.flatnonzero(needed)),
        "validation": train.select(np.flatnonzero(~needed)),
    }
    return DatasetDict({**splits, **parts})


def as_trained(splits: DatasetDict, model: str) -> DatasetDict:
    """The splits as a model's training saw them: with the validation split it held out, if it did.

    A model trained on other clips, or one that does not say, leaves the splits as they are.
    """
    if "validation" in splits or "train" not in splits:
        return splits
    record = training_record(model)
    seed = record.get("settings", {}).get("seed")
    if seed is None:
        return splits
    again = with_validation(splits, seed)
    same = fingerprint(again) == record.get("dataset", {}).get("fingerprint_as_trained")
    return again if same else splits


def training_record(name: str) -> dict[str, Any]:
    """What made a model, from its `training_config.yaml`; empty where it has none."""
    path = Path(name) / RECORD_FILE
    if not Path(name).is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            path = Path(hf_hub_download(name, RECORD_FILE))
        except EntryNotFoundError:
            return {}
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
