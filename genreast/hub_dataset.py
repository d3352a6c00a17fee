"""The dataset for the Hub: an audiofolder → Parquet shards that hold the sound, and a card.

In Parquet the Dataset Viewer plays every clip; the FLAC bytes go in as they are, so what is loaded
from the Hub equals the folder sample by sample. The folder can also be published as it stands, and
so are the shards of a dataset that was prepared as Parquet.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from datasets import Audio, ClassLabel, Features
from huggingface_hub import DatasetCard, DatasetCardData

from genreast.audio import SAMPLING_RATE
from genreast.errors import UserError
from genreast.licenses import check_license
from genreast.pages import without_seal, write_page
from genreast.staging import fill_aside

SPLITS = ("train", "validation", "test")
METADATA_FILE = "metadata.parquet"
TABLES = ("songs.csv", "feature_stats.json")
SHARD_BYTES = 300 * 1024 * 1024  # of sound in a shard; the Hub advises files below 500 MB
ROWS_A_GROUP = 100  # the Dataset Viewer reads one row group at a time
CLIPS = ("*/metadata.parquet", "*/*.flac", "*/*/*.flac")
STAGED = ("README.md", *TABLES, "data/*.parquet", *CLIPS)
OWNED = (
    "data/*.parquet",
    *(f"{split}/{name}" for split in SPLITS for name in (METADATA_FILE, "*.flac", "*/*.flac")),
)
COUNTS = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


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
        for name in table["file_name"].to_pylist() if "file_name" in table.column_names else []:
            path = dataset_dir / split / name
            if not path.resolve().is_relative_to(dataset_dir.resolve()):
                raise UserError(f"{split}/{METADATA_FILE} names {name}, outside of the dataset")
            if not path.is_file():
                raise UserError(f"'{path}' is missing: prepare the dataset again")


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
                    _link(shard, folder / "data" / shard.name)
            elif as_audiofolder:
                for name in [METADATA_FILE, *table["file_name"].to_pylist()]:
                    _link(dataset_dir / split / name, folder / split / name)
            else:
                _write_shards(dataset_dir / split, table, split, folder / "data")
        for name in TABLES:
            if (dataset_dir / name).is_file():
                shutil.copyfile(dataset_dir / name, folder / name)
        write_page(folder, _card(dataset_dir, repo_id, license, as_audiofolder))

    fill_aside(staging_dir, STAGED, fill)


def _shards_of(dataset_dir: Path, split: str) -> list[Path]:
    """The shards of a split that was prepared as Parquet."""
    return sorted((dataset_dir / "data").glob(f"{split}-*.parquet"))


def _splits(dataset_dir: Path) -> dict[str, pa.Table]:
    """Each split's metadata, without its sound."""
    found = {}
    for split in SPLITS:
        paths = _shards_of(dataset_dir, split) or [dataset_dir / split / METADATA_FILE]
        try:
            tables = [_without_sound(path) for path in paths if path.is_file()]
        except pa.ArrowInvalid as error:
            raise UserError(
                f"the {split} split of '{dataset_dir}' cannot be read ({str(error).strip()}):"
                " prepare the dataset again"
            ) from error
        if tables:
            found[split] = pa.concat_tables(tables)
    return found


def _without_sound(path: Path) -> pa.Table:
    names = pq.read_schema(path).names
    return pq.read_table(path, columns=[name for name in names if name != "audio"])


def _features(table: pa.Table) -> Features:
    """What a row holds on the Hub: the sound first, then all that the metadata says."""
    features = Features.from_arrow_schema(table.schema)
    features.pop("file_name", None)
    return Features({"audio": Audio(sampling_rate=SAMPLING_RATE), **features})


def _write_shards(folder: Path, table: pa.Table, split: str, target: Path) -> None:
    """Write a split as `<split>-<number>-of-<shards>.parquet`, row group by row group."""
    target.mkdir(exist_ok=True)
    schema = _features(table).arrow_schema
    shards = list(_shards(folder, table))
    for number, shard in enumerate(shards):
        path = target / f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
        # Content-defined chunks let Xet send only the clips that are new.
        with pq.ParquetWriter(path, schema, use_content_defined_chunking=True) as writer:
            for start in range(0, len(shard), ROWS_A_GROUP):
                rows = shard.slice(start, ROWS_A_GROUP)
                names = rows["file_name"].to_pylist()
                sound = [
                    {"bytes": (folder / name).read_bytes(), "path": Path(name).name}
                    for name in names
                ]
                columns = [pa.array(sound, schema.field("audio").type)]
                columns += rows.drop_columns("file_name").columns
                writer.write_table(pa.table(columns, schema=schema))


def _shards(folder: Path, table: pa.Table) -> Iterator[pa.Table]:
    """The table in pieces whose sound stays below `SHARD_BYTES`."""
    start = held = 0
    for index, name in enumerate(table["file_name"].to_pylist()):
        size = (folder / name).stat().st_size
        if held and held + size > SHARD_BYTES:
            yield table.slice(start, index - start)
            start, held = index, 0
        held += size
    yield table.slice(start)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the disk cannot."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _card(dataset_dir: Path, repo_id: str, license: str | None, as_audiofolder: bool) -> str:
    """The dataset's own README.md, with what only the Hub needs: metadata, rights, how to load."""
    readme = dataset_dir / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else "---\n{}\n---\n"
    try:
        card = DatasetCard(without_seal(text))
    except (ValueError, yaml.YAMLError) as error:
        words = " ".join(str(error).split())
        raise UserError(f"the block at the top of '{readme}' is no YAML: {words}") from error
    splits = _splits(dataset_dir)
    data = card.data.to_dict() | _metadata(splits, license, as_audiofolder)
    name = repo_id.split("/")[1]
    body = re.sub(r"\A\s*# .*\n?", "", card.text).strip()
    if not body:
        body = f"{LOADING}\n\n{_counts(splits)}"
    body = re.sub(r"load_dataset\([^)]*\)", f'load_dataset("{repo_id}")', body)
    rights = RIGHTS if license else NO_RIGHTS
    rights = rights.format(license=license)
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
    size = next((name for limit, name in COUNTS if rows < limit), "100K<n<1M")
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
    genres: ClassLabel = _features(next(iter(splits.values())))["label"]
    lines = [f"| genre | {' | '.join(f'{split}: songs, clips' for split in splits)} |"]
    lines.append("|---|" + "---|" * len(splits))
    for label, genre in enumerate(genres.names):
        cells = []
        for table in splits.values():
            rows = table.filter(pa.compute.equal(table["label"], label))
            cells.append(f"{len(set(rows['song_id'].to_pylist()))}, {len(rows)}")
        lines.append(f"| {genre} | {' | '.join(cells)} |")
    return "\n".join(lines)
