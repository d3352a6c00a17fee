"""Turn a folder of songs sorted by genre into a dataset of clips, split by song.

    python prepare_dataset.py path/to/songs --output_dir data/processed

The songs lie in `<genre>/` or `<index>_<genre>/` folders, at any depth and in any format FFmpeg
reads; --genre_by takes the genres from tags or a table instead. A stopped run goes on where it was
when the same command is given again.
"""

from genreast.errors import run


def main() -> int:
    # Every worker imports this file anew, so nothing heavy stands at its top.
    from genreast.arguments import PrepareArguments
    from genreast.config import parse
    from genreast.data import workers

    args = parse(PrepareArguments, __doc__)

    if not args.dask:
        workers.start_server()

    from genreast.data.genres import read_library
    from genreast.data.kept_records import clip_sources
    from genreast.data.selection import describe, read_tables
    from genreast.data.steps import cut_songs, left_out, write_dataset
    from genreast.data.work_folder import WorkFolder
    from genreast.garbage import resume_collection

    resume_collection()

    # 1. Find every file and the genres; take up what a stopped run left
    choice = args.genre_by, args.min_songs_per_genre, args.splits_table
    library = read_library(args.raw_dir, *choice)
    with WorkFolder(args) as work:
        summary = work.take_up(library)
        if summary is None:
            tables = read_tables(library, work, args)
            datasets = clip_sources(work, args)
            work.open()

            # 2. Decode each song once, in parallel: clips, statistics, fingerprint
            records = cut_songs(library, work, datasets, args)

            # 3. Find copies, group the songs, split by group
            rows = describe(library, records, tables, work, args)

            # 4. Write the dataset aside, read it back, and give it its name
            summary = write_dataset(rows, records, library, work, args)
    print(summary)
    return int(args.strict and left_out(work.output) > 0)


if __name__ == "__main__":
    run(main)
