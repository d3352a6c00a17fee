"""Turn a folder of songs sorted by genre into a dataset of clips, split by song.

    python prepare_dataset.py path/to/songs --output_dir data/processed

The songs lie in `<genre>/` or `<index>_<genre>/` folders, at any depth and in any format FFmpeg
reads. A stopped run goes on where it was when the same command is given again.
"""

from genreast.config import PrepareArguments, parse
from genreast.errors import run
from genreast.preparation import (
    cut_songs,
    finish,
    open_work_folder,
    split_rows,
)
from genreast.songs import scan


def main() -> int:
    args = parse(PrepareArguments, __doc__)

    # 1. Find every file and the genres
    library = scan(args.raw_dir)
    work = open_work_folder(args)

    # 2. Decode each song once, in parallel: clips, statistics, identity
    records = cut_songs(library, work, args)

    # 3. Split by group, stratified by genre
    rows = split_rows(library, records, args)

    # 4. Write the dataset aside, and give it its name when it is whole
    print(finish(rows, records, library, work, args))
    return 0


if __name__ == "__main__":
    run(main)
