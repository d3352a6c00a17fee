"""Training samples a second on this machine, ours beside the audio course's recipe.

    python -m benchmarks.training [--quick] [--sizes tiny]
    python -m benchmarks.training --base

Every run is a process of its own on the same made clips of 10 s and the same model; all runs take
turns. Rates count steady steps, loading included, and not the start. bfloat16 is left out on a
device that only imitates it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.made_dataset import make_dataset
from benchmarks.measure import ROOT, in_turns, paired_ratio, save, summary
from benchmarks.one_training import Run
from genreast.inference.classifier import best_device
from genreast.precision import multiplies_bfloat16

TWO_PROCESSES = ROOT / "configs/accelerate/cpu_two_processes.yaml"
BFLOAT16 = multiplies_bfloat16(torch.device(best_device()))
FAST = {"bf16": BFLOAT16, "patchout": 0.5}  # what configs/scratch_small.yaml and demo.yaml do
WINDOWS = (5.0, 10.0, 20.0)  # seconds, for the growth of a step's cost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the tiny model, few steps")
    parser.add_argument("--base", action="store_true", help="the base model alone, few steps")
    parser.add_argument("--sizes", nargs="+", default=["tiny", "small"], help="of the models")
    args = parser.parse_args()
    sizes = ["tiny"] if args.quick else args.sizes
    what = "--base" if args.base else f"--sizes {' '.join(sizes)}"
    command = f"python -m benchmarks.training {what}" + " --quick" * args.quick
    with tempfile.TemporaryDirectory() as folder:
        data = make_dataset(Path(folder) / "10 s", clips=32 if args.quick else 128)
        repetitions, steps = (1, 6) if args.quick else (3, 20)
        if args.base:
            base = compare(runs_of(str(data), "base", 2, args.quick), 1)
            result = {"clip_seconds": 10, "sizes": {"base": base}}
            save("training-base", result, command, args.quick)
            return
        result = {"clip_seconds": 10}
        result["sizes"] = {
            size: compare(runs_of(str(data), size, steps, args.quick), repetitions)
            for size in sizes
        }
        save("training", result, command, args.quick)  # the long part is not to be lost
        if not args.quick:
            result["growth"] = growth(Path(folder), steps)
    save("training", result, command, args.quick)


def runs_of(dataset: str, size: str, steps: int, quick: bool) -> dict[str, tuple[Run, int]]:
    """What is measured of one model size: the run and its number of processes, by name."""

    def ours(processes: int = 1, **settings) -> tuple[Run, int]:
        batch = 8 // processes
        return Run("ours", dataset, size, steps, batch_size=batch, **settings), processes

    def recipe(workers: int) -> tuple[Run, int]:
        return Run("recipe", dataset, size, steps, workers=workers), 1

    runs = {"recipe": recipe(0), "recipe, 2 workers": recipe(2)}
    for precision in ("float32", "bfloat16")[: 1 + BFLOAT16]:
        for share in (0, 0.5) if quick else (0, 0.3, 0.5):
            name = precision + f", patchout {share}" * (share > 0)
            runs[name] = ours(bf16=precision == "bfloat16", patchout=share)
    runs[f"{name}, 2 processes"] = ours(2, **FAST)
    return runs


def compare(runs: dict[str, tuple[Run, int]], repetitions: int) -> dict:
    """Samples a second of each run, and ratios to the faster of the recipe's two."""
    found: dict[str, dict] = {}

    def once(name: str) -> float:
        found[name] = in_process(*runs[name])
        return found[name]["samples_per_second"]

    rates = in_turns(repetitions, **{name: lambda name=name: once(name) for name in runs})
    pairs = zip(rates["recipe"], rates["recipe, 2 workers"], strict=True)
    best_of_recipe = [max(pair) for pair in pairs]
    for name, values in rates.items():
        found[name]["samples_per_second"] = summary(values)
        found[name]["times_the_recipe"] = paired_ratio(values, best_of_recipe)
    return found


def in_process(run: Run, processes: int = 1) -> dict:
    """The result of one run in a process of its own, or under `accelerate launch` in two."""
    words = [sys.executable, "-m", "benchmarks.one_training"]
    environment = dict(os.environ)
    if processes > 1:
        launch = ["accelerate.commands.launch", "--config_file", str(TWO_PROCESSES), "--module"]
        words = [sys.executable, "-m", *launch, "benchmarks.one_training"]
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or processes) // processes))
    words.append(json.dumps(asdict(run)))
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(lines[-1].removeprefix("RESULT "))


def growth(folder: Path, steps: int) -> dict:
    """Seconds a sample of the tiny model against the length of its window."""
    seconds = []
    for window in WINDOWS:
        data = make_dataset(folder / f"growth {window:g} s", clips=64, seconds=window)
        run = Run("ours", str(data), "tiny", steps, window_seconds=window, **FAST)
        seconds.append(1 / in_process(run)["samples_per_second"])
    return {"window_seconds": WINDOWS, "seconds_a_sample": seconds}


if __name__ == "__main__":
    main()
