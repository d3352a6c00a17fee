"""The dataset for the Hub: an audiofolder → Parquet shards that hold the sound, and a card.

In Parquet the Dataset Viewer plays every clip; the FLAC bytes go in as they are, so what is loaded
from the Hub equals the folder sample by sample. The folder can also be published as it stands, and
so are the shards of a dataset that was prepared as Parquet.
"""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Features
from huggingface_hub import DatasetCard, DatasetCardData

from genreast.data.audiofolder import (
    METADATA_FILE,
    PREPARATION_FILE,
    dataset_fingerprint,
    file_names,
    preparation,
)
from genreast.data.clip_files import link, write_shards
from genreast.data.columns import features_of, is_ours
from genreast.data.song_table import SONGS_FILE
from genreast.data.splits import SPLITS
from genreast.data.table_faults import table_faults
from genreast.errors import UserError, one_line
from genreast.feature_stats import STATS_FILE
from genreast.pages import PAGE_FILE, literal, without_seal, write_page
from genreast.publishing.licenses import check_license
from genreast.publishing.staging_folder import fill_aside

TABLES = (SONGS_FILE, STATS_FILE)
CLIPS = (f"*/{METADATA_FILE}", "*/*.flac", "*/*/*.flac")
STAGED = (PAGE_FILE, *TABLES, PREPARATION_FILE, "data/*.parquet", *CLIPS)
OWNED = (  # other files that lie with them on the Hub are the user's
    PREPARATION_FILE,
    *(f"data/{split}-?????-of-?????.parquet" for split in SPLITS),
    *(f"{split}/{name}" for split in SPLITS for name in (METADATA_FILE, "*.flac", "*/*.flac")),
)
COUNTS = (  # the Hub's size categories
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
)


def check_dataset_dir(dataset_dir: Path, as_audiofolder: bool = False) -> None:
    """Refuse a folder that `prepare_dataset.py` did not write, or not in the format asked for."""
    tables = _splits(dataset_dir)
    if "train" not in tables:
        raise UserError(
            f"'{dataset_dir}' is not a prepared dataset: it has neither train/{METADATA_FILE} nor"
            " data/train-*.parquet."
            " Make one with `python prepare_dataset.py RAW_DIR --output_dir DIR`"
        )
    if as_audiofolder and _shards_of(dataset_dir, "train"):
        raise UserError(
            f"'{dataset_dir}' holds Parquet shards and no files to publish: leave out"
            " --dataset_format audiofolder, or prepare it with --format files"
        )
    for split, table in tables.items():
        missing = {"label", "song_id"} - set(table.column_names)
        if missing:
            raise UserError(
                f"the {split} split of '{dataset_dir}' has no column"
                f" {', '.join(sorted(missing))}: prepare the dataset again"
            )
        in_shards = _shards_of(dataset_dir, split)
        for name in [] if in_shards else file_names(table, dataset_dir / split / METADATA_FILE):
            path = dataset_dir / split / name
            if not path.resolve().is_relative_to(dataset_dir.resolve()):
                raise UserError(f"{split}/{METADATA_FILE} names {name}, outside of the dataset")
            if not path.is_file():
                raise UserError(f"'{path}' is missing: prepare the dataset again")


def fingerprint_of(dataset_dir: Path) -> str | None:
    """The fingerprint that models trained on a prepared dataset record, without reading any sound;
    None where another made its tables."""
    tables = _splits(dataset_dir).items()
    splits = DatasetDict({split: Dataset(table) for split, table in tables})
    return dataset_fingerprint(splits) if is_ours(splits["train"]) else None


def stage_dataset(
    dataset_dir: Path, repo_id: str, license: str | None, as_audiofolder: bool, staging_dir: Path
) -> None:
    """Fill `staging_dir` with the dataset as it will lie on the Hub, and its card.

    Raises UserError for an unknown licence, or a staging folder with other things in it.
    """
    check_license(license)

    def fill(folder: Path) -> None:
        for split, table in _splits(dataset_dir).items():
            if shards := _shards_of(dataset_dir, split):
                for shard in shards:
                    link(shard, folder / "data" / shard.name)
            elif as_audiofolder:
                for name in [METADATA_FILE, *table["file_name"].to_pylist()]:
                    link(dataset_dir / split / name, folder / split / name)
            else:
                write_shards(table, partial(_clip, dataset_dir / split), split, folder / "data")
        for name in TABLES:
            if (dataset_dir / name).is_file():
                shutil.copyfile(dataset_dir / name, folder / name)
        _write_preparation(preparation(dataset_dir), folder)
        write_page(folder, _card(dataset_dir, repo_id, license, as_audiofolder))

    fill_aside(staging_dir, STAGED, fill)


def _write_preparation(facts: dict, folder: Path) -> None:
    """How the splits were made, for the pages of models trained on them; no digests of files, for
    there are others on the Hub."""
    facts = {key: value for key, value in facts.items() if key != "sha256"}
    if facts:
        text = json.dumps(facts, indent=2) + "\n"
        (folder / PREPARATION_FILE).write_text(text, encoding="utf-8")


def _clip(folder: Path, row: dict) -> Path:
    return folder / row["file_name"]


def _shards_of(dataset_dir: Path, split: str) -> list[Path]:
    """The shards of a split that was prepared as Parquet."""
    return sorted((dataset_dir / "data").glob(f"{split}-*.parquet"))


def _splits(dataset_dir: Path) -> dict[str, pa.Table]:
    """Each split's metadata, without its sound."""
    found = {}
    for split in SPLITS:
        paths = _shards_of(dataset_dir, split) or [dataset_dir / split / METADATA_FILE]
        if tables := [_without_sound(path) for path in paths if path.is_file()]:
            found[split] = pa.concat_tables(tables)
    return found


def _without_sound(path: Path) -> pa.Table:
    with table_faults(path):
        schema = pq.read_schema(path)
        features_of(schema, path)  # which tells where they are damaged
        return pq.read_table(path, columns=[name for name in schema.names if name != "audio"])


def _card(dataset_dir: Path, repo_id: str, license: str | None, as_audiofolder: bool) -> str:
    """The dataset's own README.md, with what only the Hub needs: metadata, rights, how to load."""
    readme = dataset_dir / PAGE_FILE
    try:
        text = readme.read_text(encoding="utf-8") if readme.is_file() else "---\n{}\n---\n"
    except ValueError as error:
        raise UserError(f"'{readme}' is not UTF-8 text: {one_line(error)}") from error
    try:
        card = DatasetCard(without_seal(text))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(
            f"the block at the top of '{readme}' is no YAML: {one_line(error)}"
        ) from error
    splits = _splits(dataset_dir)
    data = card.data.to_dict() | _metadata(splits, license, as_audiofolder)
    name = repo_id.split("/")[1]
    body = re.sub(r"\A\s*# .*\n?", "", card.text).strip()
    if not body:
        body = f"{LOADING}\n\n{_counts(splits)}"
    body = re.sub(r"load_dataset\([^)]*\)", f'load_dataset("{repo_id}")', body)
    stated = data.get("license")  # by the flag, or by the folder's own card
    rights = RIGHTS.format(license=stated) if stated else NO_RIGHTS
    return (
        f"---\n{DatasetCardData(**data).to_yaml()}\n---\n\n# {name}\n\n{body.strip()}\n\n{rights}"
    )


LOADING = """```python
from datasets import load_dataset

dataset = load_dataset()
```"""
RIGHTS = "## Rights\n\nPublished under the licence `{license}`, as its publisher states.\n"
NO_RIGHTS = (
    "## Rights\n\nNo licence was given: every right in the recordings stays with its holder.\n"
)


def _metadata(splits: dict[str, pa.Table], license: str | None, as_audiofolder: bool) -> dict:
    """The card's YAML: what search and the Viewer need, and which files make which split."""
    rows = sum(len(table) for table in splits.values())
    size = next(name for limit, name in COUNTS if rows < limit)
    pattern = "{0}/**" if as_audiofolder else "data/{0}-*"
    files = [{"split": split, "path": pattern.format(split)} for split in splits]
    data = {
        "license": license,
        "task_categories": ["audio-classification"],
        "tags": ["audio", "music", "music-genre-classification", "genreast"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return {key: value for key, value in data.items() if value is not None}


def _counts(splits: dict[str, pa.Table]) -> str:
    """Songs and clips of each genre in each split, as a table."""
    labels = Features.from_arrow_schema(next(iter(splits.values())).schema)["label"]
    if isinstance(labels, ClassLabel):
        genres = dict(enumerate(labels.names))
    else:  # another's table, which spells them
        spelled = pa.concat_tables(table.select(["label"]) for table in splits.values())
        genres = {genre: genre for genre in sorted(set(spelled["label"].drop_null().to_pylist()))}
    lines = [f"| genre | {' | '.join(f'{split}: songs, clips' for split in splits)} |"]
    lines.append("|---|" + "---|" * len(splits))
    for label, genre in genres.items():
        cells = []
        for table in splits.values():
            rows = table.filter(pa.compute.equal(table["label"], label))
            cells.append(f"{len(set(rows['song_id'].to_pylist()))}, {len(rows)}")
        lines.append(f"| {literal(genre)} | {' | '.join(cells)} |")
    return "\n".join(lines)
