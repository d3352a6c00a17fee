"""Hear whole songs with a trained model and say their genres.

    python predict_song.py models/demo song.mp3
    python predict_song.py USER/NAME folder/of/songs --format csv > genres.csv

A table, JSON lines or CSV goes to standard output. Songs without an answer (unreadable, silent)
are named on standard error, the others go on, and the exit status is then 1.
"""

import sys
from pathlib import Path

from genreast.arguments import PredictArguments
from genreast.config import parse
from genreast.errors import UserError, check_writable, run


def main() -> int:
    args = parse(PredictArguments, __doc__)

    # Torch and transformers take seconds to import: the flags are checked first.
    from tqdm import tqdm

    from genreast import answers
    from genreast.allocator import keep_freed_memory
    from genreast.garbage import resume_collection
    from genreast.inference import GenreClassifier

    songs = answers.find_songs(args.songs)
    if args.timeline and len(songs) != 1:
        raise UserError(f"--timeline draws one song, but {len(songs)} are given")
    for output in map(Path, filter(None, (args.timeline, args.embeddings))):
        if output.is_dir():
            raise UserError(f"'{output}' is a folder; name a file in it")
        check_writable(output.parent)
    classifier = GenreClassifier.from_pretrained(args.model, args.device, args.precision)
    resume_collection()
    keep_freed_memory()
    for remark in classifier.remarks:
        print(remark, file=sys.stderr)
    predictions = classifier.predict(songs, args.batch_size, args.overlap, args.max_windows)

    answered = []
    failed = 0
    if args.format == "csv":
        print(answers.csv_header(classifier.labels))
    # No bar for one song, nor (None) where standard error is no terminal.
    hide = len(songs) == 1 or None
    for prediction in tqdm(predictions, total=len(songs), unit="song", disable=hide):
        answers.show(prediction, args.format, args.top_k)
        failed += bool(prediction.problem)
        if not prediction.problem and (args.embeddings or args.timeline):
            answered.append(prediction)

    if args.embeddings:
        hidden = classifier.model.config.hidden_size
        answers.save_embeddings(args.embeddings, answered, classifier.labels, hidden)
        print(f"embeddings: {args.embeddings}", file=sys.stderr)
    if args.timeline and answered:
        from genreast import timeline
        from genreast.audio import AudioError

        try:
            timeline.save(answered[0], args.timeline)
            print(f"timeline: {args.timeline}", file=sys.stderr)
        except AudioError as error:  # the picture takes a second reading, which a pipe has not
            song = answered[0].song
            print(f"timeline not drawn: '{song}' cannot be read again ({error})", file=sys.stderr)
            failed += 1
    return int(failed > 0)


if __name__ == "__main__":
    run(main)
