"""Whether decoding keeps up with one GPU: our trainer on clips of a disk, by decoding processes.

    python -m benchmarks.loading [--quick] [--sizes small base]

Steps as `train_hf.py` makes them, on made clips of 10 s, each run in a process of its own: without
processes that decode, and with as many as a training takes by itself.
Writes benchmarks/results/loading.json.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.made_dataset import make_dataset
from benchmarks.measure import rounded, save
from benchmarks.one_training import Run
from benchmarks.training import BFLOAT16, in_process
from genreast.recipe import TrainArguments

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the tiny model, few steps")
    parser.add_argument("--sizes", nargs="+", default=["small", "base"], help="of the models")
    args = parser.parse_args()
    sizes = ["tiny"] if args.quick else args.sizes
    command = f"python -m benchmarks.loading --sizes {' '.join(sizes)}" + " --quick" * args.quick
    with tempfile.TemporaryDirectory() as folder:
        data = make_dataset(Path(folder) / "clips", clips=8 if args.quick else 1024)
        found = {size: measure(str(data), size, args.quick) for size in sizes}
    save("loading", {"batch_size": BATCH, "patchout": 0.5, "sizes": found}, command, args.quick)


def measure(dataset: str, size: str, quick: bool = False) -> dict:
    """Samples a second by the number of decoding processes, and what the chosen number gains."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = TrainArguments(output_dir=folder).dataloader_num_workers
    steps, batch = (2, 2) if quick else (60, BATCH)
    common = {"size": size, "steps": steps, "batch_size": batch, "bf16": BFLOAT16, "patchout": 0.5}
    rates = {
        workers: in_process(Run("ours", dataset, workers=workers, **common))["samples_per_second"]
        for workers in sorted({0, chosen})
    }
    return {
        "chosen": chosen,
        "samples_per_second": {str(workers): rate for workers, rate in rates.items()},
        "gain": rounded(rates[chosen] / rates[0]),
    }


if __name__ == "__main__":
    main()
