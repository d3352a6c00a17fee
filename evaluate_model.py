"""Measure a trained model on a split: metrics of clips and songs, predictions, figures, a report.

    python evaluate_model.py models/demo --dataset data/processed --split test
    python evaluate_model.py models/b --output_dir evaluation/b --compare evaluation/a

Writes metrics.json, predictions.csv, songs.csv, figures and report.html to --output_dir, and prints
the main scores. The exit status is 1 when a clip could not be read.
"""

import sys
from pathlib import Path

from genreast.arguments import EvaluateArguments
from genreast.config import parse
from genreast.errors import UserError, check_writable, run


def main() -> int:
    args = parse(EvaluateArguments, __doc__)

    # Torch and transformers take seconds to import: the flags are checked first.
    from genreast import comparison, evaluation, figures, png, pretrained, report, summary
    from genreast.allocator import keep_freed_memory
    from genreast.audiofolder import fingerprint, load_splits, names_songs
    from genreast.garbage import resume_collection
    from genreast.held_out import as_trained, training_record
    from genreast.inference import GenreClassifier

    folder = Path(args.output_dir)
    evaluation.check_folder(folder, {"split": args.split})
    columns = (args.audio_column, args.label_column, args.song_column)
    dataset = load_splits(args.dataset, *columns, args.dataset_config)
    classifier = GenreClassifier.from_pretrained(args.model, args.device, args.precision)
    resume_collection()
    keep_freed_memory()
    for remark in classifier.remarks:
        print(remark, file=sys.stderr)
    trained = training_record(args.model)
    splits = as_trained(dataset, trained)
    split = evaluation.choose_split(splits, args.split, args.dataset)

    # What would be refused after the long work is refused before it.
    label_of = dict(zip(split["song_id"], split["label"], strict=True))
    label_of = {song: split.features["label"].int2str(label) for song, label in label_of.items()}
    made = {
        "split": args.split,
        "pooling": args.pooling,
        "unit": "song" if names_songs(dataset) else "clip",
        "dataset": args.dataset,
        "dataset_fingerprint": fingerprint(dataset),
        "model": args.model,
        "model_fingerprint": pretrained.fingerprint(args.model),
    }
    evaluation.check_folder(folder, made)
    if args.compare:
        comparison.check(args.compare, classifier.labels, label_of, made)
    check_writable(folder)

    # Hear and measure
    clips, unreadable = evaluation.hear_split(classifier, split, args.batch_size, args.split)
    songs = evaluation.songs_of(clips, args.pooling)
    metrics = evaluation.measure(clips, songs, args.pooling)
    metrics |= made | {
        "calibration": None,
        "comparison": comparison.compare(songs, args.compare, made) if args.compare else None,
        "precision": str(classifier.dtype).removeprefix("torch."),
        "unreadable": unreadable,
    }
    if args.calibrate and args.split != "validation":
        try:
            validation = evaluation.choose_split(splits, "validation", args.dataset)
            metrics["calibration"] = evaluation.calibrate(
                classifier, validation, clips, songs, args.pooling, args.batch_size
            )
        except UserError as error:
            print(f"no temperature: {error}", file=sys.stderr)

    # Write
    evaluation.write(folder, metrics, clips, songs)
    shares = evaluation.training_shares(trained, splits, classifier.labels, made["unit"])
    drawn = figures.draw_all(metrics, clips, songs, shares)
    images = {name: png.to_bytes(figure) for name, figure in drawn.items()}
    for name, image in images.items():
        png.write(image, folder / f"{name}.png")
    names = report.song_names(args.dataset)
    report.write(folder, metrics, songs, images, names, report.song_pictures(split))

    print(summary.table(metrics, classifier.labels))
    if metrics["comparison"]:
        print(comparison.verdict(metrics["comparison"]))
    print(f"report: {folder / report.REPORT_FILE}", file=sys.stderr)
    return int(bool(unreadable or (metrics["calibration"] or {}).get("unreadable")))


if __name__ == "__main__":
    run(main)
