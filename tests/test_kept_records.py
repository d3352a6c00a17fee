"""A dataset's songs are not decoded again, and what is made of them is the same as if they were."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from song_library import RATE, contents, make_library, melody, prepare

from genreast.data import kept_records
from genreast.data.song_record import RECORDS_FILE
from genreast.errors import UserError
from genreast.publishing.hub_dataset import stage_dataset


@pytest.fixture
def raw(tmp_path):
    root = make_library(tmp_path / "raw", {"jazz": 4, "rock": 4}, seconds=(2, 5), suffixes=["flac"])
    shutil.copy(root / "jazz/artist 0/Song 0.flac", root / "jazz/a copy.flac")
    soundfile.write(root / "rock/silent.wav", np.zeros(RATE), RATE)
    (root / "rock/broken.mp3").write_bytes(b"no sound")
    return root


@pytest.fixture
def output(tmp_path):
    return tmp_path / "dataset"


def decoded_anew(raw: Path, output: Path, *options) -> dict[str, bytes]:
    """What the same command makes of the same songs without any earlier dataset's clips."""
    earlier = output.with_name("earlier")
    shutil.copytree(output, earlier)
    (earlier / RECORDS_FILE).unlink()
    # The page bears the name of its folder.
    anew = output.with_name("anew") / output.name
    prepare(raw, "--output_dir", anew, "--splits_from", earlier, "--clip_seconds", 2, *options)
    return contents(anew)


def spoil(raw: Path) -> None:
    """Have every song hold noise where its sound was, in a file that looks the same."""
    for path in filter(Path.is_file, raw.rglob("*.flac")):
        before = path.stat()
        path.write_bytes(os.urandom(before.st_size))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def stop_half_way(monkeypatch, *command) -> None:
    """Run a command that stops once three of its songs are taken from an earlier dataset."""
    marks, asked = kept_records._marks, []

    def stops(*arguments):
        asked.append(arguments)
        return marks(*arguments) if len(asked) < 4 else sys.exit("stopped")

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(kept_records, "_marks", stops)
        prepare(*command)


def replace_sound(clip: Path) -> None:
    soundfile.write(clip, melody(99, 2.0), RATE)


def cut_short(clip: Path) -> None:
    clip.write_bytes(clip.read_bytes()[:-100])


@pytest.mark.parametrize("form", ["files", "parquet"])
def test_an_update_decodes_only_what_is_new_and_makes_the_same_dataset(raw, output, form, capsys):
    options = ["--output_dir", output, "--format", form, "--clip_seconds", 2]
    prepare(raw, *options)
    soundfile.write(raw / "jazz/new.flac", melody(50, 3.0), RATE)
    soundfile.write(raw / "rock/artist 1/Song 1.flac", melody(51, 3.0), RATE)  # another song
    (raw / "rock/artist 2/Song 2.flac").unlink()
    expected = decoded_anew(raw, output, "--format", form)
    capsys.readouterr()
    prepare(raw, *options, "--update")
    # 11 files can be songs: not so the new one, the changed one, the copy and the broken one.
    assert f"7 of 11 songs are as '{output}' has them" in capsys.readouterr().err
    assert contents(output) == expected


@pytest.mark.parametrize("form", ["files", "parquet"])
def test_songs_that_are_known_are_not_even_read(raw, output, form):
    (raw / "jazz/a copy.flac").unlink()
    prepare(raw, "--output_dir", output, "--format", form)
    before = contents(output)
    spoil(raw)
    prepare(raw, "--output_dir", output, "--format", form, "--update")
    assert contents(output) == before


def test_another_dataset_takes_the_clips_without_taking_disk(raw, output, tmp_path):
    prepare(raw, "--output_dir", output)
    other, anew = tmp_path / "other" / "same name", tmp_path / "anew" / "same name"
    options = ["--seed", 5, "--group_by", "folder"]
    prepare(raw, "--output_dir", anew, *options)
    prepare(raw, "--output_dir", other, *options, "--clips_from", output)
    assert contents(other) == contents(anew)
    inodes = {path.stat().st_ino for path in output.rglob("*.flac")}
    assert inodes == {path.stat().st_ino for path in other.rglob("*.flac")}


def test_files_become_shards_and_shards_files(raw, output, tmp_path):
    prepare(raw, "--output_dir", output)
    shards, files = tmp_path / "shards", tmp_path / "again" / output.name
    prepare(raw, "--output_dir", shards, "--format", "parquet", "--clips_from", output)
    prepare(raw, "--output_dir", files, "--clips_from", shards)
    assert contents(files) == contents(output)


@pytest.mark.parametrize("harm", [Path.unlink, cut_short, replace_sound])
def test_a_clip_that_is_not_as_it_was_written_has_its_song_cut_again(raw, output, harm, capsys):
    prepare(raw, "--output_dir", output)
    before = contents(output)
    clip = next((output / "train").rglob("*.flac"))
    harm(clip)
    capsys.readouterr()
    prepare(raw, "--output_dir", output, "--update")
    assert "8 of 11 songs are as" in capsys.readouterr().err
    assert contents(output) == before


def test_what_a_stopped_run_linked_is_not_written_through(raw, output, tmp_path, monkeypatch):
    prepare(raw, "--output_dir", output)
    before = contents(output)
    other, shards = tmp_path / "other", tmp_path / "shards"
    stop_half_way(monkeypatch, raw, "--output_dir", other, "--clips_from", output)
    linked = next((tmp_path / "other.work/clips").glob("song-1-*/*.flac"))
    assert linked.stat().st_nlink == 2
    soundfile.write(raw / "jazz/artist 1/Song 1.flac", melody(60, 3.0), RATE)
    soundfile.write(raw / "rock/artist 1/Song 1.flac", melody(61, 3.0), RATE)
    prepare(raw, "--output_dir", shards, "--format", "parquet")
    prepare(raw, "--output_dir", other, "--clips_from", shards)
    assert contents(output) == before


def test_a_run_that_is_stopped_as_it_takes_clips_is_gone_on_with(raw, output, monkeypatch, capsys):
    prepare(raw, "--output_dir", output)
    before = contents(output)
    stop_half_way(monkeypatch, raw, "--output_dir", output, "--update")
    assert contents(output) == before
    capsys.readouterr()
    prepare(raw, "--output_dir", output, "--update")
    # Three of the eleven are there, and two cannot be.
    assert "6 of 8 songs are as" in capsys.readouterr().err
    assert contents(output) == before and not output.with_name("dataset.work").exists()


def augmented(dataset: Path) -> None:
    """A clip of another sound under a clip's name, in a folder of its own."""
    for metadata in dataset.rglob("metadata.parquet"):
        table = pq.read_table(metadata)
        (metadata.parent / "louder").mkdir()
        names = [f"louder/{Path(name).name}" for name in table["file_name"].to_pylist()]
        for name in names:
            soundfile.write(metadata.parent / name, melody(99, 2.0), RATE)
        louder = table.set_column(0, table.schema.field(0), pa.array(names))
        pq.write_table(pa.concat_tables([table, louder]), metadata)


def with_shards(dataset: Path) -> None:
    """Shards of the user's beside the clips, of which they hold other sound."""
    for metadata in dataset.rglob("metadata.parquet"):
        table = pq.read_table(metadata)
        names = [Path(name).name for name in table["file_name"].to_pylist()]
        sound = pa.array([{"bytes": b"another sound", "path": name} for name in names])
        shard = dataset / "data" / f"{metadata.parent.name}-00000-of-00001.parquet"
        shard.parent.mkdir(exist_ok=True)
        pq.write_table(table.drop_columns("file_name").append_column("audio", sound), shard)


def test_sound_that_a_disk_has_changed_within_a_shard_is_not_taken(raw, output):
    options = ["--output_dir", output, "--format", "parquet"]
    prepare(raw, *options)
    before = contents(output)
    for shard in (output / "data").iterdir():
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    prepare(raw, *options, "--update")
    assert contents(output) == before


def doubled(dataset: Path) -> None:
    for metadata in dataset.rglob("metadata.parquet"):
        pq.write_table(pa.concat_tables([pq.read_table(metadata)] * 2), metadata)


@pytest.mark.parametrize("edit", [augmented, with_shards, doubled])
def test_a_dataset_that_its_user_has_made_more_of_is_not_written_into(raw, output, edit, tmp_path):
    prepare(raw, "--output_dir", output)
    expected = contents(output)
    edit(output)
    before = contents(output)
    prepare(raw, "--output_dir", tmp_path / "other" / output.name, "--clips_from", output)
    assert contents(output) == before
    assert contents(tmp_path / "other" / output.name) == expected


def test_of_clips_that_are_links_the_files_are_taken(raw, output, tmp_path):
    """A tool that keeps versions of data may have moved the files elsewhere."""
    prepare(raw, "--output_dir", output)
    expected = contents(output)
    (tmp_path / "store").mkdir()
    for clip in list(output.rglob("*.flac")):
        stored = clip.rename(tmp_path / "store" / clip.name)
        clip.symlink_to(stored)
    other = tmp_path / "other" / output.name
    prepare(raw, "--output_dir", other, "--clips_from", output)
    assert contents(other) == expected
    assert not any(path.is_symlink() for path in other.rglob("*"))


def test_of_a_shard_no_more_than_a_few_clips_lie_in_memory(tmp_path):
    clips = [{"sound": os.urandom(100_000)} for _ in range(kept_records.ROWS_A_GROUP)]
    group = pa.Table.from_pylist(clips)
    with pq.ParquetWriter(tmp_path / "shard.parquet", group.schema) as shard:
        for _ in range(8):
            shard.write_table(group)
    before = pa.total_allocated_bytes()
    rows = kept_records._rows(tmp_path / "shard.parquet", ["sound"])
    most = max(pa.total_allocated_bytes() - before for _ in rows)
    assert most < 5 * group.nbytes  # read ahead, it is more than all eight


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def another_s(path: Path) -> None:
    pq.write_table(pq.read_table(path).replace_schema_metadata(), path)


def cut_by_fewer_settings(path: Path) -> None:
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"genreast"])
    del facts["cut"]["clip_seconds"]
    pq.write_table(table.replace_schema_metadata({"genreast": json.dumps(facts)}), path)


def of_another_version(path: Path) -> None:
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"genreast"]) | {"genreast": "0.0.1"}
    pq.write_table(table.replace_schema_metadata({"genreast": json.dumps(facts)}), path)


def of_other_json(path: Path) -> None:
    table = pq.read_table(path)
    facts = json.loads(table.schema.metadata[b"genreast"]) | {"cut": 3}
    pq.write_table(table.replace_schema_metadata({"genreast": json.dumps(facts)}), path)


@pytest.mark.parametrize(
    "harm, words",
    [
        (Path.unlink, "there is no '.*song_records.parquet'"),
        (damaged, "'.*song_records.parquet' cannot be read"),
        (of_other_json, "'.*song_records.parquet' cannot be read"),
        (another_s, "'.*dataset' was made by another version"),
        (of_another_version, "'.*dataset' was made by another version"),
        (cut_by_fewer_settings, "'.*dataset' was cut with --clip_seconds None, not 10.0"),
    ],
)
def test_records_that_cannot_be_used_are_told_and_do_no_harm(
    raw, output, harm, words, tmp_path, capsys
):
    prepare(raw, "--output_dir", output)
    before = contents(output)
    harm(output / RECORDS_FILE)
    with pytest.raises(UserError, match=f"--clips_from: {words}"):
        prepare(raw, "--output_dir", tmp_path / "other", "--clips_from", output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "raw"]
    capsys.readouterr()
    prepare(raw, "--output_dir", output, "--update")
    assert re.search(f"{words}.*: every song is decoded again", capsys.readouterr().err)
    assert contents(output) == before


def test_what_another_dataset_gives_is_not_said_to_be_decoded(raw, output, tmp_path, capsys):
    """Neither where the one that is updated has no records, nor where both have the same."""
    other = tmp_path / "other"
    prepare(raw, "--output_dir", output)
    prepare(raw, "--output_dir", other, "--clips_from", output)
    capsys.readouterr()
    prepare(raw, "--output_dir", output, "--update", "--clips_from", other)
    told = capsys.readouterr().err
    assert f"9 of 11 songs are as '{other}' has them" in told
    assert f"0 of 2 songs are as '{output}' has them" in told
    (output / RECORDS_FILE).unlink()
    prepare(raw, "--output_dir", output, "--update", "--clips_from", other)
    told = capsys.readouterr().err
    assert f"9 of 11 songs are as '{other}' has them" in told
    assert "every song" not in told


def test_rows_that_are_damaged_have_their_songs_cut_again(raw, output, capsys):
    """The file's end, which is read first, tells nothing of them."""
    prepare(raw, "--output_dir", output)
    before = contents(output)
    path = output / RECORDS_FILE
    content = bytearray(path.read_bytes())
    content[4:2000] = os.urandom(1996)
    path.write_bytes(content)
    capsys.readouterr()
    prepare(raw, "--output_dir", output, "--update")
    assert "0 of 11 songs are as" in capsys.readouterr().err
    assert contents(output) == before


def without_prints(rows: pa.Table) -> pa.Table:
    nothing = pa.nulls(len(rows), pa.binary())
    return rows.set_column(rows.column_names.index("fingerprint"), "fingerprint", nothing)


def without_column(rows: pa.Table) -> pa.Table:
    return rows.drop_columns("fingerprint")


def with_other_facts(rows: pa.Table) -> pa.Table:
    facts = [json.loads(record) for record in rows["record"].to_pylist()]
    other = pa.array([json.dumps(record | {"samples": record["samples"] + 1}) for record in facts])
    return rows.set_column(rows.column_names.index("record"), "record", other)


@pytest.mark.parametrize("change", [without_prints, without_column, with_other_facts])
def test_rows_that_are_not_as_they_were_written_are_not_taken(raw, output, change, capsys):
    """Parquet finds no fault with them."""
    prepare(raw, "--output_dir", output)
    before = contents(output)
    rows = pq.read_table(output / RECORDS_FILE)
    pq.write_table(change(rows), output / RECORDS_FILE)
    capsys.readouterr()
    prepare(raw, "--output_dir", output, "--update")
    # A song that is silent has no fingerprint to lose.
    assert re.search(r"\b[01] of 11 songs are as", capsys.readouterr().err)
    assert contents(output) == before


@pytest.mark.parametrize("sound", [None, {"bytes": b"no name", "path": None}])
def test_rows_of_a_shard_without_sound_or_its_name_are_passed_over(raw, output, sound, capsys):
    """So others may have written it."""
    prepare(raw, "--output_dir", output, "--format", "parquet")
    before = contents(output)
    for shard in (output / "data").iterdir():
        rows = pq.read_table(shard)
        sounds = pa.array([sound] * len(rows), rows["audio"].type)
        pq.write_table(rows.set_column(rows.column_names.index("audio"), "audio", sounds), shard)
    capsys.readouterr()
    prepare(raw, "--output_dir", output, "--format", "parquet", "--update")
    assert "1 of 11 songs are as" in capsys.readouterr().err  # the silent one
    assert contents(output) == before


@pytest.mark.parametrize("flag", ["--duplicates=ignore", "--feature_stats=false"])
def test_what_was_not_measured_is_measured_where_it_is_asked_for(raw, output, flag, tmp_path):
    less, anew = tmp_path / "less", tmp_path / "anew" / output.name
    prepare(raw, "--output_dir", anew)
    prepare(raw, "--output_dir", less, flag)
    prepare(raw, "--output_dir", output, "--clips_from", less)
    assert contents(output) == contents(anew)


def test_the_records_do_not_go_public(raw, output, tmp_path):
    prepare(raw, "--output_dir", output)
    assert (output / RECORDS_FILE).is_file()
    stage_dataset(output, "alice/songs", None, False, tmp_path / "staged")
    assert RECORDS_FILE not in contents(tmp_path / "staged")


@pytest.mark.parametrize(
    "options, words",
    [
        (["--clip_seconds", 5], "was cut with --clip_seconds 10.0, not 5.0"),
        (["--max_clips_per_song", 2], "was cut with --max_clips_per_song None, not 2"),
    ],
)
def test_clips_that_were_cut_otherwise_are_not_taken(raw, output, options, words, tmp_path, capsys):
    prepare(raw, "--output_dir", output)
    anew = tmp_path / "anew" / output.name
    with pytest.raises(UserError, match=words):
        prepare(raw, "--output_dir", anew, "--clips_from", output, *options)
    prepare(raw, "--output_dir", anew, *options)
    capsys.readouterr()
    prepare(raw, "--output_dir", output, "--update", *options)
    assert f"{words}: every song is decoded again" in capsys.readouterr().err
    assert contents(output) == contents(anew)
