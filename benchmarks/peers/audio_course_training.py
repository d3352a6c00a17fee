"""Peer: the audio course's recipe for training, as `run_audio_classification.py` runs it too.

The stock Trainer in float32; `ASTFeatureExtractor` in `set_transform`; no augmentation.
"""

import numpy as np
from datasets import Audio, DatasetDict, load_dataset
from transformers import (
    ASTFeatureExtractor,
    ASTForAudioClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)


def load_clips(dataset: str, max_length: int = 1024) -> DatasetDict:
    """An audiofolder whose rows turn into model inputs when they are read."""
    extractor = ASTFeatureExtractor(max_length=max_length)
    splits = load_dataset("audiofolder", data_dir=dataset)
    splits = splits.cast_column("audio", Audio(sampling_rate=16_000))

    def transform(rows):
        arrays = [np.asarray(audio["array"]) for audio in rows["audio"]]
        features = extractor(arrays, sampling_rate=16_000, return_tensors="pt")
        return {"input_values": features["input_values"], "labels": list(rows["label"])}

    splits.set_transform(transform)
    return splits


def trainer(
    model: ASTForAudioClassification,
    splits: DatasetDict,
    output_dir: str,
    max_steps: int,
    batch_size: int = 8,
    learning_rate: float = 5e-5,
    workers: int = 0,
    seed: int = 0,
    callbacks: list[TrainerCallback] = (),
) -> Trainer:
    """The course's Trainer: linear decay after a tenth of warm-up."""
    # The course also sets load_best_model_at_end. In transformers 5.23 that loads the best
    # checkpoint with strict=False, and AST's parameters are saved under other names than those in
    # memory: all layers would silently keep their last weights, under a head from another epoch.
    # So the recipe is measured with its last weights throughout, which serves it better.
    arguments = TrainingArguments(
        output_dir,
        max_steps=max_steps,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=batch_size,
        learning_rate=learning_rate,
        warmup_steps=0.1,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0,
        remove_unused_columns=False,
        eval_strategy="no",
        save_strategy="no",
        logging_steps=max_steps,
        report_to="none",
        disable_tqdm=True,
        seed=seed,
    )
    return Trainer(model, arguments, train_dataset=splits["train"], callbacks=list(callbacks))
