"""What streaming costs: memory of a process by buffer, clips a second, and how well genres mix.

    python -m benchmarks.streaming [--quick]

Reads shards of made clips of 10 s as training does, in a process of its own for each buffer. A
batch's genres are counted for shards in the order that `prepare_dataset.py` writes, and sorted.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from datasets import Audio, ClassLabel, Features, Value
from torch.utils.data import BatchSampler, DataLoader

from benchmarks.measure import ROOT, rounded, save
from genreast.audio import CLIP_SECONDS, SAMPLING_RATE
from genreast.data.clip_files import ROWS_A_GROUP
from genreast.training.batches import collate
from genreast.training.imbalance import EpochSampler
from genreast.training.shards import RowGroups, read_shards
from genreast.training.streaming import Deal, StreamedClips

GENRES, CLIPS_A_SONG = 15, 18  # songs of three minutes
BATCH_SIZE = 64
BUFFERS = (1000, 2000)  # the default, and twice that
SHARD_CLIPS = 2000  # of 0.2 MB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer clips")
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)  # a child: dataset and buffer
    args = parser.parse_args()
    if args.read:
        print(json.dumps(read(args.read[0], int(args.read[1]))))
        return
    command = "python -m benchmarks.streaming" + " --quick" * args.quick
    clips = 600 if args.quick else 6000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = make_shards(folder / "data", clips)
        found = {"clips": clips, "clip_bytes": rounded(size / clips), "buffers": {}}
        for buffer in (100, 200) if args.quick else BUFFERS:
            words = [sys.executable, "-m", "benchmarks.streaming", "--read", name, str(buffer)]
            done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
            found["buffers"][buffer] = json.loads(done.stdout.splitlines()[-1])
    found |= {"genres": GENRES, "batch_size": BATCH_SIZE, "genres_in_a_batch": mixing(60_000)}
    save("streaming", found, command, args.quick)


def make_shards(folder: Path, clips: int) -> int:
    """Shards of `clips` rows whose sound is of equal size; returns the bytes of all."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    sounds = []
    for _ in range(8):
        buffer = io.BytesIO()
        noise = generator.normal(0, 0.05, round(CLIP_SECONDS * SAMPLING_RATE))
        soundfile.write(buffer, noise, SAMPLING_RATE, format="FLAC")
        sounds.append(buffer.getvalue())
    names = ClassLabel(names=[f"genre {number}" for number in range(GENRES)])
    columns = {"audio": Audio(sampling_rate=SAMPLING_RATE), "label": names}
    schema = Features({**columns, "song_id": Value("string")}).arrow_schema
    labels = song_order(clips, sorted_by_genre=False)
    for split, rows in (("train", np.arange(clips)), ("validation", np.arange(10))):
        shards = np.split(rows, np.arange(SHARD_CLIPS, len(rows), SHARD_CLIPS))
        for number, part in enumerate(shards):
            path = folder / f"{split}-{number:05d}-of-{len(shards):05d}.parquet"
            # A dictionary would hold the few made sounds once; real clips are all different.
            with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
                for group in np.split(part, np.arange(ROWS_A_GROUP, len(part), ROWS_A_GROUP)):
                    table = [
                        {
                            "audio": {"bytes": sounds[row % len(sounds)], "path": f"{row}.flac"},
                            "label": int(labels[row]),
                            "song_id": f"song {row // CLIPS_A_SONG}",
                        }
                        for row in group.tolist()
                    ]
                    writer.write_table(pa.Table.from_pylist(table, schema=schema))
    return sum(path.stat().st_size for path in folder.glob("train-*"))


def read(dataset: str, buffer: int) -> dict:
    """Clips a second, and gigabytes above the start in each quarter of an epoch, decoded inline."""
    process = psutil.Process()
    splits, groups = read_shards(dataset, "audio", "label", "song_id")
    clips = StreamedClips(splits["train"], groups["train"])
    start = process.memory_info().rss
    numbers = clips.deal_out(deal(len(clips), buffer))
    loader = DataLoader(clips, batch_sampler=BatchSampler(numbers, 1, False), collate_fn=collate)
    began, held = time.perf_counter(), []
    for _ in loader:
        held.append(process.memory_info().rss - start)
    seconds = time.perf_counter() - began
    quarters = [rounded(max(part) / 1e9, 2) for part in np.array_split(held, 4)]
    return {
        "clips_per_second": rounded(len(clips) / seconds),
        "gigabytes_above_the_start": quarters,
    }


def mixing(clips: int) -> dict[str, float]:
    """Mean number of genres in a batch, of an epoch of `clips` clips with the default buffer."""
    starts = np.append(np.arange(0, clips, ROWS_A_GROUP), clips)
    groups = RowGroups("audio", [("", number) for number in range(len(starts) - 1)], starts)
    rows, order, sizes = deal(clips, BUFFERS[0]).stretch(0, 0, 0, groups)
    mixed, by_genre = (song_order(clips, sorted_by_genre=way) for way in (False, True))
    orders = {
        "songs as prepared": mixed[rows[order]],
        "songs sorted by genre": by_genre[rows[order]],
        "a full shuffle": np.random.default_rng(0).permutation(mixed),
    }
    cuts = np.cumsum(sizes)[:-1]
    return {
        name: rounded(np.mean([len(set(batch)) for batch in np.split(labels, cuts)]), 3)
        for name, labels in orders.items()
    }


def deal(clips: int, buffer: int) -> Deal:
    """One process that reads for itself."""
    return Deal(EpochSampler(np.ones(clips), 0), BATCH_SIZE, 1, 1, buffer)


def song_order(clips: int, sorted_by_genre: bool) -> np.ndarray:
    """Labels of `clips` clips, song by song, (clips,): genres equally frequent."""
    songs = np.random.default_rng(1).integers(0, GENRES, -(-clips // CLIPS_A_SONG))
    if sorted_by_genre:
        songs.sort()
    return np.repeat(songs, CLIPS_A_SONG)[:clips]


if __name__ == "__main__":
    main()
