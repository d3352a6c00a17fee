"""Whether decoding keeps up with one GPU: our trainer on clips of a disk, by decoding processes.

    python -m benchmarks.loading [--quick] [--sizes small base]

Steps as `train_hf.py` makes them, on made clips of 10 s, each run in a process of its own: decoding
between the steps, and beside them in as many processes as a training takes by itself.
Writes benchmarks/results/loading.json.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.made_dataset import make_dataset
from benchmarks.measure import rounded, save
from benchmarks.one_training import Run
from benchmarks.training import BFLOAT16, in_process

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
    """Samples a second either way, and what decoding beside the steps gains."""
    steps, batch = (2, 2) if quick else (60, BATCH)
    common = {"size": size, "steps": steps, "batch_size": batch, "bf16": BFLOAT16, "patchout": 0.5}
    runs = [in_process(Run("ours", dataset, workers=workers, **common)) for workers in (0, None)]
    between, beside = (run["samples_per_second"] for run in runs)
    return {
        "between_the_steps": between,
        "beside_them": beside,
        "processes": runs[1]["workers"],
        "gain": rounded(beside / between),
    }


if __name__ == "__main__":
    main()
