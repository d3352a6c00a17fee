"""Training from Parquet shards: each clip once an epoch, whoever reads it, and no more read."""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from conftest import ROOT, ROWS_A_GROUP, run_training
from datasets import Dataset
from hub_store import Blob
from safetensors.torch import load_file
from torch.utils.data import BatchSampler, DataLoader

from genreast.config import parse
from genreast.data.audiofolder import dataset_fingerprint, load_splits
from genreast.errors import UserError
from genreast.training import shards, streaming
from genreast.training.batches import collate
from genreast.training.imbalance import EpochSampler, class_counts, sampling_weights
from genreast.training.recipe import TrainArguments
from genreast.training.shards import read_shards, with_sound
from genreast.training.steps import read_dataset
from genreast.training.streaming import Deal, StreamedClips

COLUMNS = ("audio", "label", "song_id")
CLIPS = 32  # of the train split


def streamed(dataset: Path) -> StreamedClips:
    splits, groups = read_shards(str(dataset), *COLUMNS)
    return StreamedClips(splits["train"], groups["train"])


def deal(batch_size=4, processes=1, workers=1, buffer=10, seed=0, weights=None) -> Deal:
    weights = np.ones(CLIPS) if weights is None else weights
    return Deal(EpochSampler(weights, seed), batch_size, processes, workers, buffer)


def batches(clips: StreamedClips, deal: Deal, process=0, workers=0, epoch=0) -> list[list[int]]:
    """The rows of each batch that one process hears in an epoch, dealt out as accelerate does."""
    numbers = clips.deal_out(deal)
    numbers.set_epoch(epoch)
    mine = BatchSamplerShard(BatchSampler(numbers, 1, False), deal.processes, process)
    loader = DataLoader(clips, batch_sampler=mine, collate_fn=collate, num_workers=workers)
    return [batch["indices"].tolist() for batch in loader]


def flat(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_each_clip_is_heard_once_and_all_make_the_same_number_of_steps(sharded, processes, workers):
    clips, shape = streamed(sharded), deal(5, processes, max(1, workers))
    heard = [batches(clips, shape, process, workers) for process in range(processes)]
    assert {len(batches) for batches in heard} == {-(-CLIPS // (5 * processes))}
    assert sorted(flat(map(flat, heard))) == list(range(CLIPS))
    assert all(1 <= len(batch) <= 5 for batches in heard for batch in batches)


def test_one_clip_a_step_leaves_no_process_behind(sharded):
    """32 clips for three processes: one hears a neighbour's clip as well, for it has but ten."""
    clips = streamed(sharded)
    heard = [batches(clips, deal(1, 3), process) for process in range(3)]
    assert [len(batches) for batches in heard] == [11, 11, 11]
    assert set(flat(map(flat, heard))) == set(range(CLIPS))


def test_the_waveforms_are_those_of_the_shards(sharded):
    from genreast.training.batches import ClipDataset

    clips, files = streamed(sharded), ClipDataset(load_splits(sharded)["train"])
    clips.deal_out(deal(CLIPS))
    for clip in clips.__getitems__([(0, 0)]):
        expected = files[clip["index"]]
        assert clip["label"] == expected["label"]
        assert np.array_equal(clip["waveform"], expected["waveform"])
    assert clips.longest_seconds() == files.longest_seconds() == 1.5


def test_the_order_is_of_seed_and_epoch(sharded):
    clips = streamed(sharded)
    orders = [
        flat(batches(clips, deal(seed=seed), epoch=epoch))
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]
    ]
    assert orders[0] == flat(batches(streamed(sharded), deal()))
    for number, one in enumerate(orders):
        for other in orders[:number]:
            assert sum(a == b for a, b in zip(one, other, strict=True)) < CLIPS / 3


@pytest.mark.parametrize("buffer", [1, 8, CLIPS])
def test_a_clip_moves_by_no_more_than_the_buffer(sharded, buffer):
    clips = streamed(sharded)
    shape = deal(buffer=buffer)
    reading = shape.reading(0, clips.groups).tolist()
    moves = [
        abs(place - reading.index(row)) for place, row in enumerate(flat(batches(clips, shape)))
    ]
    assert max(moves) < buffer
    assert np.mean(moves) >= (buffer - 1) / 8


def test_the_workers_of_a_process_share_its_buffer(sharded):
    shape = deal(workers=2, buffer=8)
    for worker in range(2):
        _, order, _ = shape.stretch(0, 0, worker, streamed(sharded).groups)
        assert 0 < np.abs(order - np.arange(len(order))).max() < 8 / 2


def test_a_process_holds_no_more_than_its_buffer_and_a_row_group(sharded, monkeypatch):
    clips, held, most = streamed(sharded), 0, 0
    read, decode = shards.RowGroups.read, streaming.decode_clip

    def counted_read(*arguments):
        nonlocal held, most
        sound = read(*arguments)
        held += len(sound)
        most = max(most, held)
        return sound

    def counted_decode(*arguments):
        nonlocal held
        held -= 1
        return decode(*arguments)

    monkeypatch.setattr(shards.RowGroups, "read", counted_read)
    monkeypatch.setattr(streaming, "decode_clip", counted_decode)
    for buffer in (1, 8, 16):
        most = 0
        batches(clips, deal(buffer=buffer))
        assert held == 0 and most <= buffer + ROWS_A_GROUP
    assert most > 8, "a buffer of 16 is used"


@pytest.mark.parametrize(("processes", "workers"), [(1, 1), (2, 1), (2, 2)])
def test_a_row_group_is_read_once_but_where_two_share_it(sharded, monkeypatch, processes, workers):
    clips, reads = streamed(sharded), []
    read = shards.RowGroups.read
    monkeypatch.setattr(
        shards.RowGroups, "read", lambda *words: reads.append(words[1]) or read(*words)
    )
    shape = deal(4, processes, workers)
    numbers = clips.deal_out(shape)
    for process in range(processes):
        for worker in range(workers):
            for number in list(numbers)[process + worker * processes :: processes * workers]:
                clips.__getitems__([number])
    assert set(reads) == set(range(len(clips.groups)))
    assert len(reads) <= len(clips.groups) + processes * workers - 1


def test_going_on_reads_and_decodes_only_what_is_still_to_come(sharded, monkeypatch):
    clips, numbers = streamed(sharded), list(streamed(sharded).deal_out(deal(4)))
    whole = batches(clips, deal(4))
    reads, decoded = [], []
    read, decode = shards.RowGroups.read, streaming.decode_clip
    monkeypatch.setattr(
        shards.RowGroups, "read", lambda *words: reads.append(words[1]) or read(*words)
    )
    monkeypatch.setattr(
        streaming, "decode_clip", lambda *words: decoded.append(words[2]) or decode(*words)
    )
    clips = streamed(sharded)
    clips.deal_out(deal(4))
    rest = [[clip["index"] for clip in clips.__getitems__([number])] for number in numbers[5:]]
    assert rest == whole[5:]
    assert decoded == flat(rest)
    assert len(reads) < len(clips.groups)


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_rare_genres_are_heard_more_often_on_any_number_of_processes(sharded, exponent):
    clips = streamed(sharded)
    counts = class_counts(clips.labels, clips.song_ids, 3)
    weights = sampling_weights(clips.labels, counts, exponent)
    expected = CLIPS * counts ** (1 - exponent) / np.sum(counts ** (1 - exponent))
    for processes in (1, 2):
        shape = deal(4, processes, weights=weights)
        heard = flat(flat(batches(clips, shape, process)) for process in range(processes))
        assert len(heard) == CLIPS
        times = np.bincount(heard, minlength=CLIPS)
        due = EpochSampler(weights, 0).expected
        assert (np.floor(due - 1e-9) <= times).all() and (times <= np.ceil(due + 1e-9)).all()
        classes = np.bincount(np.asarray(clips.labels)[heard], minlength=3)
        assert np.abs(classes - expected).max() <= 1
        again = flat(flat(batches(clips, shape, p, epoch=1)) for p in range(processes))
        assert sorted(again) != sorted(heard), "another epoch rounds others up"


def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(sharded, short_start, tmp_path):
    flags = ["--streaming", "true", "--shuffle_buffer", "10", "--dataloader_num_workers", "2"]
    flags += ["--max_steps", "30", "--per_device_train_batch_size", "2"]
    flags += ["--gradient_accumulation_steps", "2", "--sampling_exponent", "0.5"]
    flags += ["--eval_strategy", "no", "--load_best_model_at_end", "false"]
    flags += ["--save_strategy", "steps", "--save_steps", "10"]  # an epoch has eight steps
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_training(short_start, sharded, whole, *flags, "--save_total_limit", "3")
    shutil.copytree(whole / "checkpoint-10", stopped / "checkpoint-10")
    run_training(short_start, sharded, stopped, *flags, "--resume_from_checkpoint", "last")
    expected, weights = (load_file(path / "model.safetensors") for path in (whole, stopped))
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], atol=1e-6, rtol=0)


def test_what_is_known_beforehand_is_read_without_the_sound(sharded, monkeypatch):
    """But for the 64 kB at its end that a Parquet file is opened with."""
    reads = []
    plain = shards.open_shard

    class Noted:
        def __init__(self, file):
            self.file = file

        def read(self, size=-1):
            reads.append(self.file.read(size))
            return reads[-1]

        def __getattr__(self, name):
            return getattr(self.file, name)

    @contextlib.contextmanager
    def noted(shard):
        with plain(shard) as file:
            yield Noted(file)

    monkeypatch.setattr(shards, "open_shard", noted)
    _, groups = read_shards(str(sharded), *COLUMNS)
    size = sum(path.stat().st_size for path in (sharded / "data").iterdir())
    assert 0 < sum(len(data) for data in reads if len(data) != 65_536) < size / 20
    reads.clear()
    groups["train"].read(0, [0])
    assert sum(map(len, reads)) > 65_536 + 40_000, "the sound of three clips is more"


def test_it_is_the_same_dataset_as_without_streaming(sharded):
    splits, groups = read_shards(str(sharded), *COLUMNS)
    plain = load_splits(sharded)
    assert dataset_fingerprint(splits) == dataset_fingerprint(plain)
    assert splits["train"].features["label"] == plain["train"].features["label"]
    validation = with_sound(splits["validation"], groups["validation"])
    assert validation[:] == plain["validation"][:]


def test_shards_of_others_with_other_columns_and_text_labels(sharded, tmp_path):
    for split in ("train", "validation"):
        table = load_splits(sharded)[split].to_list()
        rows = [
            {"sound": row["audio"], "genre": "cba"[row["label"]], "note": "unused"} for row in table
        ]
        Dataset.from_list(rows).to_parquet(tmp_path / f"{split}.parquet", batch_size=4)
    names = ("sound", "genre", "song_id")
    splits, groups = read_shards(str(tmp_path), *names)
    plain = load_splits(tmp_path, *names)
    assert splits["train"].features["label"].names == ["a", "b", "c"]
    assert dataset_fingerprint(splits) == dataset_fingerprint(plain)
    clips = StreamedClips(splits["train"], groups["train"])
    assert sorted(flat(batches(clips, deal()))) == list(range(CLIPS))
    with pytest.raises(UserError, match="no column audio; it has sound, genre, note"):
        read_shards(str(tmp_path), *COLUMNS)


HUB = """
import sys
from genreast.data.audiofolder import dataset_fingerprint
from genreast.training.shards import read_shards, with_sound
from test_streaming import StreamedClips, batches, deal, flat

splits, groups = read_shards("alice/songs", "audio", "label", "song_id")
clips = StreamedClips(splits["train"], groups["train"])
heard = flat(batches(clips, deal(4, 1, 2), workers=2))
print(dataset_fingerprint(splits), sorted(heard) == list(range(32)))
print(len(with_sound(splits["validation"], groups["validation"])))
"""


def test_a_dataset_is_streamed_from_the_hub(sharded, hub, tmp_path):
    repo = hub.store.create("dataset", "alice/songs", private=True)
    files = {
        f"data/{path.name}": Blob(path.read_bytes(), lfs=True)
        for path in (sharded / "data").iterdir()
    }
    hub.store.objects |= {file.sha256: file.content for file in files.values()}
    repo.refs["refs/heads/main"] = repo.add_commit(None, "songs", files).oid
    environment = os.environ | hub.environment(tmp_path / "home", "hf_alice")
    environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests'}"
    result = subprocess.run(
        [sys.executable, "-c", HUB], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.split() == [dataset_fingerprint(load_splits(sharded)), "True", "14"]
    kept = (path for path in (tmp_path / "home").rglob("*") if path.is_file())
    kept = sum(path.stat().st_size for path in kept if not path.is_symlink())
    validation = sum(len(file.content) for name, file in files.items() if "validation" in name)
    assert validation < kept < 2.1 * validation, "nothing of the train split"


def test_a_shard_without_rows_is_passed_over(sharded, tmp_path):
    for split in ("train", "validation"):
        shards = sorted((sharded / "data").glob(f"{split}-*"))
        for number, shard in enumerate(shards):
            (tmp_path / f"{split}-{number}.parquet").symlink_to(shard)
        none = pq.read_table(shards[0]).slice(0, 0)
        pq.write_table(none, tmp_path / f"{split}-{len(shards)}.parquet")
    clips = streamed(tmp_path)
    assert clips.longest_seconds() == 1.5
    assert sorted(flat(batches(clips, deal()))) == list(range(CLIPS))
    splits, groups = read_shards(str(tmp_path), *COLUMNS)
    assert len(with_sound(splits["validation"], groups["validation"])) == 14


def refusal(dataset, *flags: str) -> str:
    with pytest.raises(UserError) as caught:
        read_dataset(parse(TrainArguments, argv=["--dataset", str(dataset), "--streaming", *flags]))
    return str(caught.value)


def test_mistakes_are_named_with_a_remedy(sharded, genre_dataset, tmp_path):
    assert "prepare_dataset.py RAW_DIR --format parquet" in refusal(genre_dataset)
    assert "is neither a folder nor a Hub dataset" in refusal(tmp_path / "nowhere")
    assert "no column genre; it has audio, label" in refusal(sharded, "--label_column", "genre")
    assert "--shuffle_buffer is 0; expected 1 or more" in refusal(sharded, "--shuffle_buffer", "0")
    assert "leave it false" in refusal(sharded, "--dataloader_drop_last", "true")
    train = next((sharded / "data").glob("train-00000*"))
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "train.parquet").symlink_to(train)
    assert "--val_fraction 0.1" in refusal(tmp_path / "one")


def test_a_shard_cut_short_is_named(sharded, tmp_path):
    path = tmp_path / "train.parquet"
    path.write_bytes(next((sharded / "data").glob("train-00000*")).read_bytes())
    clips = streamed(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"shard '.*train.parquet' cannot be read \(Parquet"):
        clips.longest_seconds()


def test_a_broken_clip_is_named(sharded, tmp_path):
    path = next((sharded / "data").glob("train-00000*"))
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[1]["audio"]["bytes"] = b"no sound"
    table = pa.Table.from_pylist(rows, schema=table.schema)
    pq.write_table(table, tmp_path / "train.parquet")
    clips = streamed(tmp_path)
    clips.deal_out(deal(len(rows), weights=np.ones(len(rows))))
    with pytest.raises(UserError, match=f"clip '{rows[1]['audio']['path']}' of the dataset"):
        clips.__getitems__([(0, 0)])
