"""Peer: the Hugging Face audio course's recipe. The extractor is mapped over the clips, then
`Trainer.evaluate()` runs in float32."""

import numpy as np
from datasets import Audio, Dataset
from transformers import (
    ASTFeatureExtractor,
    ASTForAudioClassification,
    Trainer,
    TrainingArguments,
)


def evaluate(model_dir: str, clips: list[str], labels: list[int], output_dir: str) -> float:
    """Accuracy of the clips, as the course computes it."""
    extractor = ASTFeatureExtractor.from_pretrained(model_dir)
    model = ASTForAudioClassification.from_pretrained(model_dir)
    data = Dataset.from_dict({"audio": clips, "label": labels})
    data = data.cast_column("audio", Audio(sampling_rate=16_000))

    def preprocess(rows):
        arrays = [row["array"] for row in rows["audio"]]
        return extractor(arrays, sampling_rate=16_000)

    encoded = data.map(preprocess, remove_columns="audio", batched=True, batch_size=100)
    trainer = Trainer(
        model,
        TrainingArguments(output_dir, per_device_eval_batch_size=8, use_cpu=True, report_to=[]),
        eval_dataset=encoded,
        compute_metrics=lambda found: {
            "accuracy": float(np.mean(found.predictions.argmax(1) == found.label_ids))
        },
    )
    return trainer.evaluate()["eval_accuracy"]
