"""Clip and song macro-F1 on real recordings after the same seconds of training as the recipe.

    python -m benchmarks.quality [--quick] [--seconds 240] [--size tiny] [--seeds 3]
    python -m benchmarks.quality --epochs 10    # equal passes over waivops_mini in place of seconds

Reads waivops_mini and esc10_mini from ../shared/audio. Both ways start from the same random
weights, have the same batch size, learning rate and wall-clock, and keep their last weights;
neither looks at the test split before the end. Steps fill the time at the rate measured before.
"""

import argparse
import functools
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import TrainerCallback

from benchmarks.measure import ROOT, rounded, save, summary
from benchmarks.one_training import WARM_UP, Clock
from benchmarks.peers import audio_course_training
from benchmarks.real_datasets import FOLDS, esc10_fold, waivops
from genreast.config import parse
from genreast.data.audiofolder import load_splits
from genreast.data.columns import label_names
from genreast.metrics import evaluate_clips
from genreast.training.batches import ClipDataset
from genreast.training.model import feature_extractor, from_scratch, set_labels
from genreast.training.recipe import TrainArguments
from genreast.training.start import normalisation, start_model
from genreast.training.steps import quiet_libraries
from genreast.training.trainer import GenreTrainer

CONFIG = ROOT / "configs" / "scratch_small.yaml"
CALIBRATION = 12  # timed steps before the run itself
QUICK_CALIBRATION = 4
LEVELS = ("clip", "song")
Hear = Callable[[], tuple]  # the test clips' logits, labels and songs, and the labels' names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, default=ROOT.parent / "shared" / "audio")
    parser.add_argument("--seconds", type=float, help="training time a run (default: 240)")
    parser.add_argument("--epochs", type=int, help="of waivops_mini alone, for both ways")
    parser.add_argument("--size", default="tiny", choices=("tiny", "small", "base"))
    parser.add_argument("--seeds", type=int, default=3, help="on waivops_mini")
    parser.add_argument("--seeds_a_fold", type=int, default=3, help="on each fold of esc10_mini")
    parser.add_argument("--quick", action="store_true", help="one seed, one fold, 20 s a run")
    args = parser.parse_args()
    seconds = args.seconds or (20 if args.quick else 240)
    if not args.audio.is_dir():
        print(f"left out: no recordings at '{args.audio}'", file=sys.stderr)
        return
    quiet_libraries()
    if args.epochs:
        command = f"python -m benchmarks.quality --epochs {args.epochs} --size {args.size}"
        result = equal_epochs(args.audio, args.epochs, args.size, args.seeds)
        save("quality-epochs", result, f"{command} --seeds {args.seeds}", args.quick)
        return
    command = f"python -m benchmarks.quality --seconds {seconds:g} --size {args.size}"
    command += f" --seeds {args.seeds} --seeds_a_fold {args.seeds_a_fold}"
    command += " --quick" * args.quick
    seeds = (1, 1) if args.quick else (args.seeds, args.seeds_a_fold)
    result = measure(args.audio, seconds, args.size, args.quick, *seeds)
    save("quality", result, command, args.quick)


def measure(
    audio: Path, seconds: float, size: str, quick: bool, seeds: int, seeds_a_fold: int
) -> dict:
    """Every run's scores by data set, and the paired gain of ours over the recipe in points."""
    folds = FOLDS[:1] if quick else FOLDS
    calibration = QUICK_CALIBRATION if quick else CALIBRATION
    runs: dict[str, list[dict]] = {"waivops_mini": [], "esc10_mini": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(seeds):
            dataset, prepared = waivops(audio, folder / f"waivops {seed}", seed)
            scores = pair(dataset, seconds, size, seed, calibration)
            runs["waivops_mini"].append({"seed": seed} | scores)
        for fold in folds:
            dataset = esc10_fold(audio, folder / f"esc10 {fold}", fold)
            for seed in range(seeds_a_fold):
                scores = pair(dataset, seconds, size, seed, calibration)
                runs["esc10_mini"].append({"fold": fold, "seed": seed} | scores)
    return {
        "size": size,
        "seconds_of_training": seconds,
        "runs": runs,
        "gains": {name: gains(each) for name, each in runs.items()},
        "prepared_waivops": prepared,
    }


def equal_epochs(audio: Path, epochs: int, size: str, seeds: int) -> dict:
    """Both ways' scores on waivops_mini after the same passes over its train split."""
    runs = []
    batch_size = parse(TrainArguments, argv=[str(CONFIG)]).per_device_train_batch_size
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            dataset, _ = waivops(audio, Path(folder) / f"waivops {seed}", seed)
            steps = epochs * math.ceil(len(load_splits(dataset)["train"]) / batch_size)
            run = {"seed": seed}
            for way, train in (("ours", train_ours), ("recipe", train_recipe)):
                run[way] = trained(train, dataset, size, seed, steps)
                print(dataset.name, way, run[way], file=sys.stderr)
            runs.append(run)
    runs = {"waivops_mini": runs}
    found = {name: gains(each) for name, each in runs.items()}
    return {"size": size, "epochs": epochs, "runs": runs, "gains": found}


def gains(runs: list[dict]) -> dict:
    """Medians of macro-F1 of both ways, and of the difference, run by run, in points."""
    found = {}
    for level in LEVELS:
        key = f"{level}_macro_f1"
        ours, recipe = ([run[way][key] for run in runs] for way in ("ours", "recipe"))
        points = [100 * (one - other) for one, other in zip(ours, recipe, strict=True)]
        found[level] = {"ours": summary(ours), "recipe": summary(recipe)}
        found[level]["gain_in_points"] = summary(points)
        found[level]["mean_gain_in_points"] = rounded(statistics.mean(points))
    return found


def pair(
    dataset: Path, seconds: float, size: str, seed: int, calibration: int = CALIBRATION
) -> dict:
    """Both ways trained for `seconds` on a dataset, and their scores on its test split.

    The recipe loads its data with or without workers, whichever was faster.
    """
    with_workers = functools.partial(train_recipe, workers=2)
    found = {}
    for way, trains in (("ours", [train_ours]), ("recipe", [train_recipe, with_workers])):
        paces = []
        for train in trains:
            clock = Clock()
            train(dataset, size, seed, WARM_UP + calibration, clock)
            paces.append(clock.seconds_a_step)
        pace = min(paces)
        train, steps = trains[paces.index(pace)], max(2, round(seconds / pace))
        found[way] = trained(train, dataset, size, seed, steps)
        print(dataset.name, way, found[way], file=sys.stderr)
    return found


def trained(train: Callable, dataset: Path, size: str, seed: int, steps: int) -> dict:
    """Steps, seconds and the scores on the test split of one training."""
    watch = Stopwatch()
    hear = train(dataset, size, seed, steps, watch)
    found = {"steps": steps, "seconds": rounded(watch.seconds)}
    scores = evaluate_clips(*hear())
    for level in LEVELS:
        for metric in ("macro_f1", "accuracy"):
            found[f"{level}_{metric}"] = rounded(scores[level][metric])
    return found


class Stopwatch(TrainerCallback):
    """Seconds of training, from its first step to its last."""

    def on_train_begin(self, args, state, control, **kwargs):
        self.start = time.perf_counter()

    def on_train_end(self, args, state, control, **kwargs):
        self.seconds = time.perf_counter() - self.start


def train_ours(dataset: Path, size: str, seed: int, steps: int, callback: TrainerCallback) -> Hear:
    """`train_hf.py configs/scratch_small.yaml`, for a number of steps and without checkpoints."""
    splits = load_splits(dataset)
    names = label_names(splits)
    with tempfile.TemporaryDirectory() as output:
        words = [str(CONFIG), "--from_scratch", size, "--max_steps", str(steps)]
        words += [
            "--dataset",
            str(dataset),
            "--seed",
            str(seed),
            "--output_dir",
            output,
            "--report_to",
            "none",
        ]
        words += ["--eval_strategy", "no", "--save_strategy", "no", "--disable_tqdm", "true"]
        words += ["--load_best_model_at_end", "false", "--logging_steps", str(steps)]
        args = parse(TrainArguments, argv=words)
        torch.manual_seed(seed)
        train, test = ClipDataset(splits["train"]), ClipDataset(splits["test"])
        model, _ = start_model(args, names, train.longest_seconds())
        extractor = feature_extractor(model.config, *normalisation(args))
        trainer = GenreTrainer(model, args, train, test, extractor, callbacks=[callback])
        trainer.train()

    def hear():
        found = trainer.predict(test)
        rows = found.label_ids
        songs = [test.song_ids[row] for row in rows]
        return found.predictions, np.asarray(test.labels)[rows], songs, names

    return hear


def train_recipe(
    dataset: Path,
    size: str,
    seed: int,
    steps: int,
    callback: TrainerCallback,
    workers: int = 0,
) -> Hear:
    """The recipe on a model of the same size, with the batch and learning rate of ours.

    The course's own learning rate is for pretrained weights, and too low from random ones.
    """
    ours = parse(TrainArguments, argv=[str(CONFIG), "--report_to", "none"])
    splits = audio_course_training.load_clips(str(dataset))
    names = splits["train"].features["label"].names
    torch.manual_seed(seed)
    model = from_scratch(size)
    set_labels(model, names)
    with tempfile.TemporaryDirectory() as output:
        trainer = audio_course_training.trainer(
            model,
            splits,
            output,
            steps,
            ours.per_device_train_batch_size,
            ours.learning_rate,
            workers,
            seed,
            callbacks=[callback],
        )
        trainer.train()

    def hear():
        found = trainer.predict(splits["test"])
        songs = list(splits["test"].with_format(None)["song_id"])
        return found.predictions, found.label_ids, songs, names

    return hear


if __name__ == "__main__":
    main()
