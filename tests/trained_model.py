"""A model folder and its evaluation as training and evaluation leave them, tiny and random."""

import json
import os
from pathlib import Path

import numpy as np
import torch
import yaml
from conftest import TINY
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from genreast.metrics import evaluate_clips
from genreast.pretrained import weights_fingerprint
from genreast.publishing.staging import stage_model

TEMPLATE = Path(__file__).resolve().parent.parent / "model_card.md"
GENRES = ["jazz", "pop|punk", "rock"]
PUBLISHED = [  # beside the training's curves, whose file has a name of its own
    "README.md",
    "config.json",
    "figures/confusion_matrix.png",
    "metrics.json",
    "model.safetensors",
    "preprocessor_config.json",
    "training_config.yaml",
]


def make_model_dir(folder: Path, seed: int = 0) -> Path:
    """A tiny AST with what else lies in a model folder, some of which must never be published."""
    torch.manual_seed(seed)
    config = ASTConfig(
        **TINY,
        id2label=dict(enumerate(GENRES)),
        label2id={genre: index for index, genre in enumerate(GENRES)},
    )
    model = ASTForAudioClassification(config)
    # A head this large tells one sound from another, so that comparing scores can fail.
    torch.nn.init.normal_(model.classifier.dense.weight, std=2.0)
    model.save_pretrained(folder)
    ASTFeatureExtractor(mean=-5.1, std=3.2).save_pretrained(folder)
    songs = {
        "train": dict(zip(GENRES, (30, 12, 41), strict=True)),
        "validation": dict(zip(GENRES, (3, 2, 4), strict=True)),
        "test": dict(zip(GENRES, (4, 4, 12), strict=True)),
    }
    training = {
        "command": "train_hf.py --output_dir /home/alice/models/first",
        "settings": {"learning_rate": 1e-5, "num_train_epochs": 5.0, "mixup_alpha": 0.0, "seed": 3},
        "base_model": "MIT/ast-finetuned-audioset-10-10-0.4593",
        "dataset": {
            "name": "data/processed",
            "fingerprint": "5094",
            "splits": {split: {"songs": counts} for split, counts in songs.items()},
            "preparation": {"group_by": "artist", "seed": 7, "duplicates": 2},
        },
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }
    (folder / "training_config.yaml").write_text(yaml.safe_dump(training, sort_keys=False))
    (folder / "training_args.bin").write_bytes(b"hf_secretsecretsecretsecretsecret")
    (folder / "checkpoint-1").mkdir()
    (folder / "checkpoint-1" / "optimizer.pt").write_bytes(b"momentum")
    _write_events(folder / "runs" / "Nov22_alices-laptop")
    return folder


def _write_events(folder: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))
    writer.add_text("args", '{"output_dir": "/home/alice/models/first"}')
    writer.add_scalar("train/loss", 0.5, global_step=1)
    writer.close()


def make_evaluation(folder: Path, model_dir: Path) -> Path:
    """An evaluation of the model, with made-up logits: 20 songs of two clips."""
    random = np.random.default_rng(0)
    labels = np.repeat([0] * 4 + [1] * 4 + [2] * 12, 2)
    songs = [f"song{index // 2:02d}" for index in range(40)]
    logits = random.normal(size=(40, 3)) + 2 * np.eye(3)[labels]
    metrics = evaluate_clips(logits, labels, songs, GENRES)
    metrics["split"] = "test"
    metrics["pooling"] = "log_probability"
    metrics["dataset"] = os.path.abspath("data/processed")
    metrics["dataset_fingerprint"] = "5094"
    metrics["model_fingerprint"] = weights_fingerprint(model_dir)
    metrics["confidence_intervals"] = {"song": {"accuracy": [0.839, 1.0], "groups": 15}}
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "predictions.csv").write_text("file_name,label\n")
    _write_figure(folder / "confusion_matrix.png")
    return folder


def make_onnx_measurements(folder: Path) -> None:
    """What an export to ONNX writes beside its files, with made-up figures."""
    rows = [
        {"file": "model.safetensors", "precision": "float32", "bytes": 345e6, "seconds": 0.87},
        {"file": "onnx/model.onnx", "precision": "float32", "bytes": 345.4e6, "seconds": 0.8},
        {"file": "onnx/model_quantized.onnx", "precision": "int8 weights", "bytes": 88e6},
    ]
    rows[1] |= {"largest_probability_difference": 3e-7, "same_genre": 8}
    rows[2] |= {"largest_probability_difference": 0.0123, "same_genre": 7, "seconds": 0.31}
    shape = ["batch", 1024, 128]
    facts = {"clips": 8, "compared": 8, "threads": 2, "opset": 18, "input": shape, "files": rows}
    folder.mkdir()
    (folder / "measurements.json").write_text(json.dumps(facts))


def make_staged(folder: Path) -> Path:
    """The model and its evaluation as they are staged, with an export's measurements beside."""
    model_dir = make_model_dir(folder / "model")
    evaluation = make_evaluation(folder / "evaluation", model_dir)
    stage_model(model_dir, evaluation, folder / "staged", lambda _: "")
    make_onnx_measurements(folder / "staged" / "onnx")
    return folder / "staged"


def _write_figure(path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(path)
