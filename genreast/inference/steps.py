"""The steps of `predict_song.py`, in order."""

import sys
from pathlib import Path

from genreast.arguments import PredictArguments
from genreast.audio import AudioError
from genreast.bars import bar
from genreast.errors import UserError, check_writable, when_ended
from genreast.inference import answers
from genreast.inference.classifier import GenreClassifier, SongPrediction


def load(args: PredictArguments) -> tuple[list[str], GenreClassifier]:
    """The songs and the model. What would be refused after the long work is refused here."""
    songs = answers.find_songs(args.songs)
    if args.timeline and len(songs) != 1:
        raise UserError(f"--timeline draws one song, but {len(songs)} are given")
    for output in map(Path, filter(None, (args.timeline, args.embeddings))):
        if output.is_dir():
            raise UserError(f"'{output}' is a folder; name a file in it")
        check_writable(output.parent)
    classifier = GenreClassifier.from_pretrained(args.model, args.device, args.precision)
    for remark in classifier.remarks:
        print(remark, file=sys.stderr)
    return songs, classifier


def answer(
    songs: list[str], classifier: GenreClassifier, args: PredictArguments
) -> tuple[list[SongPrediction], int]:
    """Print each song's answer as it is there: those that files are made of, and how many songs
    have none.

    Embeddings of a run that is stopped stay too, in a file beside the one asked for, which may be
    an earlier run's.
    """
    if args.format == "csv":
        print(answers.csv_header(classifier.labels))
    when_ended(lambda number, frame: sys.exit(128 + number))  # which the end below sees
    answered, failed = [], 0
    predictions = classifier.predict(songs, args.batch_size, args.overlap, args.max_windows)
    # No bar for one song, nor (None) where standard error is no terminal.
    hide = len(songs) == 1 or None
    try:
        for prediction in bar(predictions, total=len(songs), unit="song", disable=hide):
            if not prediction.problem and (args.embeddings or args.timeline):
                answered.append(prediction)
            answers.show(prediction, args.format, args.top_k)
            failed += bool(prediction.problem)
    except BaseException:  # Ctrl-C, a scheduler, or nobody reads on, as after `| head`
        if args.embeddings and answered:
            stopped = Path(args.embeddings)
            _save_embeddings(
                str(stopped.with_stem(f"{stopped.stem}-stopped")), answered, classifier
            )
        raise
    return answered, failed


def write(
    answered: list[SongPrediction], classifier: GenreClassifier, args: PredictArguments
) -> bool:
    """Write the files that were asked for; whether all could be made of the songs answered."""
    if args.embeddings:
        _save_embeddings(args.embeddings, answered, classifier)
    if not (args.timeline and answered):
        return True
    from genreast.inference import timeline

    [prediction] = answered
    try:
        timeline.save(prediction, args.timeline)
    except AudioError as error:  # the picture takes a second reading, which a pipe has not
        song = prediction.song
        print(f"timeline not drawn: '{song}' cannot be read again ({error})", file=sys.stderr)
        return False
    print(f"timeline: {args.timeline}", file=sys.stderr)
    return True


def _save_embeddings(
    path: str, answered: list[SongPrediction], classifier: GenreClassifier
) -> None:
    hidden = classifier.model.config.hidden_size
    answers.save_embeddings(path, answered, classifier.labels, hidden)
    print(f"embeddings: {path}", file=sys.stderr)
