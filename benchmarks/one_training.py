"""One timed training run, ours or the recipe's, on a prepared dataset.

    python -m benchmarks.one_training '{"way": "ours", "dataset": "data/processed", "steps": 12}'

Under `accelerate launch` it runs on several processes. Prints one JSON line: samples a second in
the steady state, and their share of the matrix rate measured in the same process.
"""

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass

import torch
from transformers import TrainerCallback

from benchmarks.measure import matrix_rate, rounded, tokens_kept, training_flops
from benchmarks.peers import audio_course_training
from genreast.allocator import keep_freed_memory
from genreast.data.audiofolder import load_splits
from genreast.data.columns import label_names
from genreast.model_window import window_frames
from genreast.training.batches import ClipDataset
from genreast.training.model import feature_extractor, from_scratch, set_labels
from genreast.training.recipe import TrainArguments
from genreast.training.steps import quiet_libraries
from genreast.training.trainer import GenreTrainer

WARM_UP = 3  # steps before the clock starts


@dataclass
class Run:
    """What to train; `bf16`, `patchout` and the window are ours alone, `workers` loads data."""

    way: str  # ours or recipe
    dataset: str
    size: str = "tiny"
    steps: int = 12  # timed, after the warm-up
    batch_size: int = 8  # a process
    bf16: bool = False
    patchout: float = 0.0
    workers: int | None = 0  # None: what a training takes by itself
    window_seconds: float = 10.24  # 1024 frames, the stock extractor's


class Clock(TrainerCallback):
    """Times the steps after the warm-up, loading included."""

    def __init__(self):
        self.times: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    @property
    def seconds_a_step(self) -> float:
        return (self.times[-1] - self.times[WARM_UP - 1]) / (len(self.times) - WARM_UP)


def main() -> None:
    quiet_libraries()
    found = train(Run(**json.loads(sys.argv[1])))
    if found:
        print("RESULT " + json.dumps(found))


def train(run: Run) -> dict | None:
    """Run it; the first process alone returns the result."""
    clock = Clock()
    torch.manual_seed(0)
    model = from_scratch(run.size, max_length=window_frames(run.window_seconds))
    with tempfile.TemporaryDirectory() as folder:
        make = our_trainer if run.way == "ours" else recipe_trainer
        trainer = make(run, model, folder, clock)
        trainer.train()
    if not trainer.is_world_process_zero():
        return None
    processes = trainer.args.world_size
    rate = processes * run.batch_size / clock.seconds_a_step
    result = {**asdict(run), "processes": processes, "samples_per_second": rounded(rate)}
    result["workers"] = trainer.args.dataloader_num_workers
    del result["dataset"]
    tokens = tokens_kept(model.config, run.patchout)
    flops = training_flops(model.config, tokens, pooled_alone=run.way == "ours")
    result |= {"tokens": tokens, "gigaflop_a_sample": rounded(flops / 1e9)}
    if processes == 1:  # a second process would be at work, or at rest, beside the measurement
        limit = matrix_rate(trainer.args.device, torch.bfloat16 if run.bf16 else torch.float32)
        result["matrix_gigaflops"] = rounded(limit / 1e9)
        result["share_of_the_matrix_rate"] = rounded(rate * flops / limit)
    return result


def our_trainer(run: Run, model, folder: str, clock: Clock) -> GenreTrainer:
    """This project's trainer with its default augmentation."""
    keep_freed_memory()
    splits = load_splits(run.dataset)
    set_labels(model, label_names(splits))
    clips = ClipDataset(splits["train"])
    args = TrainArguments(
        output_dir=folder,
        max_steps=WARM_UP + run.steps,
        per_device_train_batch_size=run.batch_size,
        bf16=run.bf16,
        patchout=run.patchout,
        dataloader_num_workers=run.workers,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        logging_steps=1000,
        report_to=["none"],
        disable_tqdm=True,
    )
    extractor = feature_extractor(model.config, -4.27, 4.57)
    return GenreTrainer(model, args, clips, clips, extractor, callbacks=[clock])


def recipe_trainer(run: Run, model, folder: str, clock: Clock):
    """The recipe, on the same model and clips."""
    splits = audio_course_training.load_clips(run.dataset, model.config.max_length)
    set_labels(model, splits["train"].features["label"].names)
    return audio_course_training.trainer(
        model,
        splits,
        folder,
        WARM_UP + run.steps,
        run.batch_size,
        workers=run.workers,
        callbacks=[clock],
    )


if __name__ == "__main__":
    main()
