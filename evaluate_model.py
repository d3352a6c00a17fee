"""Measure a trained model on a split: metrics of clips and songs, predictions, figures.

    python evaluate_model.py models/demo --dataset data/processed --split test

Writes metrics.json, predictions.csv, songs.csv, figures and report.html to --output_dir, and prints
the main scores. The exit status is 1 when a clip could not be read.
"""

import sys
from pathlib import Path

from genreast.config import EvaluateArguments, parse
from genreast.errors import run


def main() -> int:
    args = parse(EvaluateArguments, __doc__)

    # Torch and transformers take seconds to import: the flags are checked first.
    from genreast import checkpoint, evaluation, figures, summary
    from genreast.audiofolder import fingerprint, load_splits
    from genreast.inference import GenreClassifier

    splits = load_splits(args.dataset)
    split = evaluation.choose_split(splits, args.split, args.dataset)
    classifier = GenreClassifier.from_pretrained(args.model, args.device, args.precision)

    clips, unreadable = evaluation.hear_split(classifier, split, args.batch_size, args.split)
    songs = evaluation.songs_of(clips, args.pooling)
    metrics = evaluation.measure(clips, songs, args.pooling)
    metrics["calibration"] = None
    if args.calibrate and args.split != "validation" and len(splits.get("validation", ())):
        held_out, _ = evaluation.hear_split(
            classifier, splits["validation"], args.batch_size, "validation"
        )
        metrics["calibration"] = evaluation.calibrate(
            (held_out, evaluation.songs_of(held_out, args.pooling)), (clips, songs), "validation"
        )
    metrics |= {
        "split": args.split,
        "pooling": args.pooling,
        "dataset": args.dataset,
        "dataset_fingerprint": fingerprint(args.dataset),
        "model": args.model,
        "model_fingerprint": checkpoint.fingerprint(args.model),
        "unreadable": unreadable,
    }

    folder = Path(args.output_dir)
    evaluation.write(folder, metrics, clips, songs)
    figures.save_all(folder, metrics, clips, songs)
    print(summary.table(metrics, classifier.labels))
    print(f"results: {folder}", file=sys.stderr)
    return int(bool(unreadable))


if __name__ == "__main__":
    run(main)
