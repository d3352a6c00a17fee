"""All that `test_exactness.py` looks at of two processes, in one launch: starting them costs most.

accelerate launch --config_file configs/accelerate/cpu_two_processes.yaml \
    tests/on_two_processes.py START DATASET SHARDS OUTPUT
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from genreast.training.trainer import GenreTrainer
from tests.conftest import run_training
from tests.train_variants import train_variants

STREAMED = ["--streaming", "true", "--shuffle_buffer", "10", "--num_train_epochs", "2"]
STREAMED += ["--per_device_train_batch_size", "5", "--eval_strategy", "no"]
STREAMED += ["--load_best_model_at_end", "false"]


def noting(compute_loss, notes: Path):
    """`compute_loss` with a note of what the process hears, a line of JSON a batch."""

    def noted(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        line = {
            "step": self.state.global_step,
            "rows": inputs["indices"].tolist(),
            "items": int(num_items_in_batch),
        }
        notes.mkdir(parents=True, exist_ok=True)
        with open(notes / f"{self.args.process_index}.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        return compute_loss(self, model, inputs, return_outputs, num_items_in_batch)

    return noted


def main(start: str, dataset: str, shards: str, output: Path) -> None:
    train_variants(start, dataset, output / "variants", 5, 1)
    compute_loss = GenreTrainer.compute_loss
    resume = ["--resume_from_checkpoint", str(output / "streamed/checkpoint-4")]
    for name, more in {"streamed": [], "resumed": resume}.items():
        GenreTrainer.compute_loss = noting(compute_loss, output / f"{name}_notes")
        run_training(start, shards, output / name, *STREAMED, *more)


if __name__ == "__main__":
    main(*sys.argv[1:4], Path(sys.argv[4]))
