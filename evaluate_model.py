"""Measure a trained model on a split: metrics of clips and songs, predictions, figures, a report.

    python evaluate_model.py models/demo --dataset data/processed --split test
    python evaluate_model.py models/b --output_dir evaluation/b --compare evaluation/a

Writes metrics.json, predictions.csv, songs.csv, figures and report.html to --output_dir, and prints
the main scores. The exit status is 1 when a clip could not be read.
"""

from genreast.arguments import EvaluateArguments
from genreast.config import parse
from genreast.errors import run


def main() -> int:
    args = parse(EvaluateArguments, __doc__)

    # Torch and transformers take seconds to import: the flags are checked first.
    from genreast.allocator import keep_freed_memory
    from genreast.evaluation.steps import left_out, load, measure, output_folder, show, write
    from genreast.garbage import resume_collection

    task = load(args)
    resume_collection()
    keep_freed_memory()
    with output_folder(task, args):
        metrics, clips, songs = measure(task, args)
        write(task, metrics, clips, songs, args)
    show(metrics, args)
    return int(left_out(metrics))


if __name__ == "__main__":
    run(main)
