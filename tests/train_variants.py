"""Train ten steps with each loss and save the weights: the same on any number of processes."""

import json
from pathlib import Path

import torch

from genreast.data.audiofolder import load_splits
from genreast.data.columns import label_names
from genreast.training.batches import ClipDataset
from genreast.training.model import feature_extractor
from genreast.training.recipe import TrainArguments
from genreast.training.start import start_model
from genreast.training.trainer import GenreTrainer

VARIANTS = {
    "cross_entropy": {},
    "weighted": {"class_weights": "inverse"},
    "focal": {"loss": "focal", "class_weights": "effective"},
    "logit_adjusted": {"loss": "logit_adjusted", "sampling_exponent": 0.5},
}


def train_variants(start: str, dataset: str, output: Path, batch: int, accumulation: int) -> None:
    """Leave `<variant>.pt` (the trained weights) and `<variant>.json` (metrics) in `output`."""
    splits = load_splits(dataset)
    for name, settings in VARIANTS.items():
        args = TrainArguments(
            model_name_or_path=start,
            output_dir=str(output / name),
            per_device_train_batch_size=batch,
            per_device_eval_batch_size=5,
            gradient_accumulation_steps=accumulation,
            max_steps=10,
            learning_rate=1e-3,
            bf16=False,
            use_cpu=True,
            mixup_alpha=0,
            gain_db=0,
            time_roll=False,
            mask_time_frames=0,
            mask_mel_bins=0,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
            report_to=["none"],
            disable_tqdm=True,
            **settings,
        )
        torch.manual_seed(0)
        model, _ = start_model(args, label_names(splits), 1.5)
        extractor = feature_extractor(model.config, -6.0, 4.0)
        train, validation = ClipDataset(splits["train"]), ClipDataset(splits["validation"])
        trainer = GenreTrainer(model, args, train, validation, extractor)
        trainer.train()
        metrics = trainer.evaluate()
        if trainer.is_world_process_zero():
            output.mkdir(parents=True, exist_ok=True)
            torch.save(model.state_dict(), output / f"{name}.pt")
            (output / f"{name}.json").write_text(json.dumps(metrics))
