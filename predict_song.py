"""Hear whole songs with a trained model and say their genres.

    python predict_song.py models/demo song.mp3
    python predict_song.py USER/NAME folder/of/songs --format csv > genres.csv

A table, JSON lines or CSV goes to standard output. Songs without an answer (unreadable, silent)
are named on standard error, the others go on, and the exit status is then 1.
"""

from genreast.arguments import PredictArguments
from genreast.config import parse
from genreast.errors import run


def main() -> int:
    args = parse(PredictArguments, __doc__)

    # Torch and transformers take seconds to import: the flags are checked first.
    from genreast.allocator import keep_freed_memory
    from genreast.garbage import resume_collection
    from genreast.inference.steps import answer, load, write

    songs, classifier = load(args)
    resume_collection()
    keep_freed_memory()
    answered, failed = answer(songs, classifier, args)
    whole = write(answered, classifier, args)
    return int(failed > 0 or not whole)


if __name__ == "__main__":
    run(main)
