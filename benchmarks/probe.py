"""Seconds of a linear probe's epochs: the first, which hears every clip, and those after it.

    python -m benchmarks.probe [--quick]

An epoch is whole: its steps, its evaluation and its checkpoint. The first counts from before the
listening.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

from transformers import TrainerCallback

from benchmarks.made_dataset import make_dataset
from benchmarks.measure import ROOT, rounded, save, summary
from genreast.config import parse
from genreast.data.audiofolder import load_splits
from genreast.data.columns import label_names
from genreast.training.batches import ClipDataset
from genreast.training.model import feature_extractor, freeze_body, from_scratch, set_labels
from genreast.training.probe import ProbeTrainer
from genreast.training.recipe import TrainArguments
from genreast.training.steps import quiet_libraries

CLIP_SECONDS = 10


class EpochEnds(TrainerCallback):
    """When each epoch's checkpoint was written; evaluation comes before it."""

    def __init__(self):
        self.times: list[float] = []

    def on_save(self, args, state, control, **kwargs):
        self.times.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the tiny model, fewer clips")
    quick = parser.parse_args().quick
    quiet_libraries()
    command = "python -m benchmarks.probe" + (" --quick" if quick else "")
    with tempfile.TemporaryDirectory() as folder:
        data = make_dataset(Path(folder) / "data", 32 if quick else 128, CLIP_SECONDS)
        sizes = ["tiny"] if quick else ["tiny", "small"]
        found = {size: measure(size, data, epochs=4 if quick else 12) for size in sizes}
    save("probe", {"clip_seconds": CLIP_SECONDS, "sizes": found}, command, quick)


def measure(size: str, data: Path, epochs: int) -> dict:
    """Seconds of the first epoch and of each later one, and how many times faster those are."""
    rows = load_splits(data)["train"]
    clips, held_out = ClipDataset(rows), ClipDataset(rows.select(range(len(rows) // 8)))
    model = from_scratch(size)
    set_labels(model, label_names({"train": rows}))
    freeze_body(model)
    ends = EpochEnds()
    with tempfile.TemporaryDirectory() as folder:
        words = [
            str(ROOT / "configs/linear_probe.yaml"),
            "--output_dir",
            folder,
            "--disable_tqdm",
            "true",
        ]
        words += ["--num_train_epochs", str(epochs), "--report_to", "none"]
        args = parse(TrainArguments, argv=words)
        extractor = feature_extractor(model.config, -4.27, 4.57)
        start = time.perf_counter()
        trainer = ProbeTrainer(model, args, clips, held_out, extractor, callbacks=[ends])
        trainer.train()
    first, *later = [end - begin for begin, end in itertools.pairwise([start, *ends.times])]
    return {
        "clips": len(clips),
        "first_epoch_seconds": rounded(first),
        "later_epoch_seconds": summary(later),
        "times_faster": summary([first / one for one in later]),
    }


if __name__ == "__main__":
    main()
