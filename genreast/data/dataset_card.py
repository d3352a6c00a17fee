"""The dataset's README.md: a Hub dataset card with what is in it and how it was made."""

import json
from pathlib import Path

from huggingface_hub import DatasetCardData

from genreast.arguments import PrepareArguments
from genreast.data.audiofolder import PREPARATION_FILE
from genreast.data.seals import digests
from genreast.data.song_table import SongRow, without_group
from genreast.pages import write_page
from genreast.tables import is_table

LOADING = {"files": '"audiofolder", data_dir="."', "parquet": '"parquet", data_dir="data"'}
BY_SEED = """
Splits are by group and stratified by genre (seed {seed}); songs that an earlier state of the
dataset held stay in their split, whatever the seed.
""".strip()
BY_TABLE = "Splits are a table's; a group that it puts in two stands in that of most of its songs."
CARD = """---
{header}
---

# {title}

{songs} songs in {genres} genres, cut into {clips} clips of at most {seconds:g} s, 16 kHz mono,
for audio classification. Made by GenreAST's `prepare_dataset.py`.

```python
from datasets import load_dataset

dataset = load_dataset({load})
```

Columns: `audio`, `label` (the genre: here by {genre_by}), `song_id` (clips of one recording share
it), `group` (what never stands in two splits: here by {group_by}) and `start` (seconds into the
song).

```
{summary}
```

{splits}

`songs.csv` lists every file that was found, with its split or the reason it was left out.
`feature_stats.json` holds the mean and standard deviation of the train split's log-mel features,
where they were measured.

"""


def write_card(
    folder: Path, args: PrepareArguments, rows: list[SongRow], genres: list[str], summary: str
) -> None:
    """Write the card, without date or path of this machine: equal data is equal bytes."""
    header = DatasetCardData(task_categories=["audio-classification"], tags=["audio", "music"])
    used = [row for row in rows if row.status == "used"]
    alone = without_group(used) if args.group_by != "song" else 0
    ungrouped = f"; {alone} of {len(used)} songs have none, and each is its own" if alone else ""
    card = CARD.format(
        header=header.to_yaml(),
        title=Path(args.output_dir).resolve().name,
        songs=len(used),
        genres=len(genres),
        clips=sum(row.clips for row in used),
        seconds=args.clip_seconds,
        load=LOADING[args.format],
        genre_by=_unless_table(args.genre_by, "a table of genres"),
        group_by=_unless_table(args.group_by, "a table of groups") + ungrouped,
        summary=summary,
        splits=BY_TABLE if args.splits_table else BY_SEED.format(seed=args.seed),
    )
    write_page(folder, card)


def write_facts(folder: Path, args: PrepareArguments, rows: list[SongRow]) -> None:
    """Write `preparation.json`: what a model's page later says of how its splits were made, and
    what the tables, which are written before, are known by.
    """
    facts = {
        "clip_seconds": args.clip_seconds,
        "genre_by": _unless_table(args.genre_by, "own table"),
        "group_by": _unless_table(args.group_by, "own group"),
    }
    if args.splits_table:
        facts["splits_from"] = "own table"
    else:
        facts |= {name: getattr(args, name) for name in ("seed", "val_fraction", "test_fraction")}
    if args.group_by != "song":
        facts["songs_without_group"] = without_group(rows)
    if args.duplicates == "group":
        facts["duplicates"] = sum(row.status == "duplicate_of" for row in rows)
    facts["sha256"] = digests(folder)
    path = folder / PREPARATION_FILE
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _unless_table(name: str, instead: str) -> str:
    """A flag's value, or what is said in the place of a file of this machine."""
    return instead if is_table(name) else name
