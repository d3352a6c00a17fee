"""Train with `train_hf.py`'s flags and note what each process heard, a line of JSON a batch.

accelerate launch --config_file configs/accelerate/cpu_two_processes.yaml tests/streamed_run.py \
    NOTES --streaming true … [-- NOTES --streaming true …]
"""

import itertools
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from genreast.config import parse
from genreast.fine_tune import fine_tune
from genreast.recipe import TrainArguments
from genreast.training import GenreTrainer


def noting(notes: Path, process: int):
    """`compute_loss` with a note of each batch."""

    def noted(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        line = {
            "step": self.state.global_step,
            "rows": inputs["indices"].tolist(),
            "items": int(num_items_in_batch),
        }
        with open(notes / f"{process}.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
        return compute_loss(self, model, inputs, return_outputs, num_items_in_batch)

    return noted


if __name__ == "__main__":
    compute_loss = GenreTrainer.compute_loss
    words = itertools.groupby(sys.argv[1:], lambda word: word == "--")
    for notes, *flags in [list(run) for between, run in words if not between]:
        args = parse(TrainArguments, argv=flags)
        GenreTrainer.compute_loss = noting(Path(notes), args.process_index)
        fine_tune(args)
