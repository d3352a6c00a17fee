"""Train with `train_hf.py`'s flags and note what each process heard, a line of JSON a batch.

accelerate launch --config_file configs/accelerate/cpu_two_processes.yaml tests/streamed_run.py \
    NOTES --streaming true …
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from genreast.config import parse
from genreast.fine_tune import fine_tune
from genreast.recipe import TrainArguments
from genreast.training import GenreTrainer


def main(notes: Path, argv: list[str]) -> None:
    args = parse(TrainArguments, argv=argv)
    compute_loss = GenreTrainer.compute_loss

    def noted(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        line = {
            "step": self.state.global_step,
            "rows": inputs["indices"].tolist(),
            "items": int(num_items_in_batch),
        }
        with open(notes / f"{args.process_index}.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        return compute_loss(self, model, inputs, return_outputs, num_items_in_batch)

    GenreTrainer.compute_loss = noted
    fine_tune(args)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
