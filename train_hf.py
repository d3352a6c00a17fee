"""Fine-tune an Audio Spectrogram Transformer on a dataset of songs.

    python train_hf.py configs/demo.yaml --dataset data/processed --output_dir models/mine
    accelerate launch train_hf.py configs/finetune.yaml --dataset data/processed

The output folder holds a plain Hub model, with the settings that made it and its metrics.
"""

from genreast.config import parse
from genreast.errors import run


def main() -> None:
    from genreast.training.recipe import TrainArguments

    args = parse(TrainArguments, __doc__)

    from accelerate import PartialState

    from genreast.allocator import keep_freed_memory
    from genreast.garbage import resume_collection
    from genreast.training.steps import fine_tune

    resume_collection()
    keep_freed_memory()
    fine_tune(args)
    state = PartialState()
    state.wait_for_everyone()  # the first one saves the model: a launcher ends all when one fails
    state.destroy_process_group()  # before the interpreter takes its threads away


if __name__ == "__main__":
    run(main)
