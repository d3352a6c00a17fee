"""What stops, mistakes and other runs leave: nothing of the user's is lost, no work done twice."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import soundfile
from filelock import FileLock
from song_library import RATE, contents, make_library, melody, prepare

from genreast.arguments import PrepareArguments
from genreast.data import clips, selection, steps, work_folder
from genreast.data.clips import cut_song
from genreast.data.cuts import CutSettings
from genreast.data.song_table import read_songs
from genreast.data.work_folder import WorkFolder
from genreast.errors import UserError


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    return make_library(root, {"jazz": 4, "rock": 4}, seconds=(1, 2), suffixes=["flac"])


@pytest.fixture(scope="module")
def plain(raw, tmp_path_factory):
    """The dataset of an unbroken run without flags."""
    output = tmp_path_factory.mktemp("plain") / "dataset"
    prepare(raw, "--output_dir", output)
    return output


@pytest.fixture
def output(tmp_path):
    return tmp_path / "dataset"


@pytest.fixture
def stop_before(monkeypatch):
    """Has the next run stop where it would call a step of preparing."""

    def stop(name: str, act=lambda: sys.exit("stopped")):
        module = selection if hasattr(selection, name) else steps
        before = getattr(module, name)

        def call(*arguments):
            monkeypatch.setattr(module, name, before)
            act()
            return before(*arguments)

        monkeypatch.setattr(module, name, call)

    return stop


def stopped(*arguments) -> None:
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        prepare(*arguments)


def times(output: Path) -> dict[str, int]:
    """When the record of each song was written."""
    songs = output.with_name("dataset.work") / "songs"
    return {path.name: path.stat().st_mtime_ns for path in songs.glob("*.json")}


@pytest.mark.parametrize("flags", [(), ("--update",)])
def test_what_comes_into_the_output_during_a_run_stays(
    raw, plain, output, stop_before, tmp_path, flags
):
    if flags:
        shutil.copytree(plain, output)

    def someone_works_there():
        output.mkdir(exist_ok=True)
        (output / "thesis.txt").write_text("mine")

    stop_before("describe", someone_works_there)
    for _ in range(2):  # refused until the way is free
        with pytest.raises(UserError, match=r"waits in .*dataset\.work/dataset': move"):
            prepare(raw, "--output_dir", output, *flags)
        assert (output / "thesis.txt").read_text() == "mine"
    output.rename(tmp_path / "elsewhere")
    assert prepare(raw, "--output_dir", output, *flags) == 0
    assert contents(output) == contents(plain)
    assert {path.name for path in tmp_path.iterdir()} == {"dataset", "elsewhere"}


def test_another_dataset_that_comes_in_place_of_the_one_to_replace_stays(
    raw, plain, output, stop_before, tmp_path
):
    shutil.copytree(plain, output)
    other = tmp_path / "other"
    prepare(raw, "--output_dir", other, "--seed", 1)
    before = contents(other)

    def swap():
        shutil.rmtree(output)
        other.rename(output)

    stop_before("write_dataset", swap)
    with pytest.raises(UserError, match="is not what it was when the run began"):
        prepare(raw, "--output_dir", output, "--update")
    assert contents(output) == before


def test_a_folder_of_the_users_that_bears_the_works_name_is_left_alone(raw, output):
    work = output.with_name("dataset.work")
    work.mkdir()
    (work / "songs").mkdir()
    for settings in ('{"my": "app"}', '{"genreast": "0.1', ""):  # an app's; cut short by a crash
        (work / "settings.json").write_text(settings)
        before = contents(work)
        with pytest.raises(UserError, match=r"in the way.* \(it has no settings\.json as a run"):
            prepare(raw, "--output_dir", output)
        assert contents(work) == before
    shutil.rmtree(work)
    with WorkFolder(PrepareArguments(str(raw), str(output))) as made:
        made.open()
        (made.songs / "one.json").touch()
    (work / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"in the way.* \(it holds 'thesis\.txt'\)"):
        prepare(raw, "--output_dir", output, "--clip_seconds", 1)
    assert (work / "thesis.txt").read_text() == "mine"


def clears_no_clips(folder, *arguments, remove=shutil.rmtree, **flags):
    if Path(folder).name == "clips":
        raise KeyboardInterrupt
    remove(folder, *arguments, **flags)


def test_a_run_that_is_stopped_while_it_cleans_answers_its_own_command_alone(
    raw, plain, output, monkeypatch, capsys
):
    listed = Path.iterdir
    for flags in (("--num_workers", 1), ("--seed", 1, "--update")):
        shutil.rmtree(output, ignore_errors=True)
        monkeypatch.setattr(work_folder.shutil, "rmtree", clears_no_clips)
        monkeypatch.setattr(Path, "iterdir", lambda folder: iter(sorted(listed(folder))[::-1]))
        stopped(raw, "--output_dir", output)
        monkeypatch.undo()
        assert contents(output) == contents(plain)
        capsys.readouterr()
        prepare(raw, "--output_dir", output, *flags)
        told = capsys.readouterr()
        assert "all" in told.out and not output.with_name("dataset.work").exists()
        if "--seed" in flags:
            assert (
                "finished what a stopped run with other settings or songs had left to do"
                in told.err
            )
            assert "8 of 8 songs" in told.err and '"seed": 1' in (
                output / "preparation.json"
            ).read_text(encoding="utf-8")
        else:
            assert "finished what a stopped run had left to do" in told.err
            assert contents(output) == contents(plain)


@pytest.mark.parametrize("changed", ["songs", "table", "splits"])
def test_what_changed_since_a_run_that_was_stopped_while_it_cleaned_is_heeded(
    raw, plain, output, monkeypatch, tmp_path, changed
):
    songs, table, earlier = tmp_path / "raw", tmp_path / "groups.csv", tmp_path / "earlier"
    shutil.copytree(raw, songs)
    shutil.copytree(plain, earlier)
    table.write_text("path,group\n")
    command = (songs, "--output_dir", output, "--group_by", table, "--update")
    command += ("--splits_from", earlier)
    monkeypatch.setattr(work_folder.shutil, "rmtree", clears_no_clips)
    stopped(*command)
    monkeypatch.undo()
    if changed == "songs":
        soundfile.write(songs / "jazz" / "new.wav", melody(99, 1), RATE)
    elif changed == "table":
        table.write_text("path,group\njazz/artist 0/Song 0.flac,mine\n")
    else:
        splits = (earlier / "songs.csv").read_text()
        splits = splits.replace(",test,", ",x,").replace(",validation,", ",test,")
        (earlier / "songs.csv").write_text(splits.replace(",x,", ",validation,"))
    prepare(*command)
    rows = {row["path"]: row for row in read_songs(output)}
    if changed == "songs":
        assert "jazz/new.wav" in rows
    elif changed == "table":
        assert rows["jazz/artist 0/Song 0.flac"]["group"] == "group mine"
    else:
        assert all(rows[row["path"]]["split"] == row["split"] for row in read_songs(earlier))


def test_a_run_that_is_stopped_before_or_between_its_two_renames_is_finished(
    raw, plain, output, monkeypatch, tmp_path
):
    shutil.copytree(plain, output)
    rename = work_folder.os.rename

    def renames_once(*paths):
        monkeypatch.undo()
        rename(*paths)
        monkeypatch.setattr(work_folder.os, "rename", stop)

    def stop(*paths):
        monkeypatch.undo()
        raise KeyboardInterrupt

    command = (raw, "--output_dir", output, "--update")
    for renames in (stop, renames_once):
        monkeypatch.setattr(work_folder.os, "rename", renames)
        stopped(*command)
    shutil.copytree(output.with_name("dataset.work") / "replaced", output)  # the user's remedy
    with pytest.raises(UserError, match="waits in"):
        prepare(*command)
    output.rename(tmp_path / "elsewhere")
    output.mkdir()
    assert prepare(*command) == 0
    assert contents(output) == contents(plain)


@pytest.mark.parametrize(
    ("flags", "kept"),
    [
        (("--group_by", "artist"), True),
        (("--seed", 3, "--val_fraction", 0), True),
        (("--duplicates", "ignore"), False),  # no fingerprints: songs are cut anew
        (("--feature_stats", "false"), False),
        (("--clip_seconds", 1), False),
    ],
)
def test_a_dataset_is_the_same_whatever_was_stopped_before(
    raw, plain, output, stop_before, flags, kept
):
    stop_before("write_dataset")
    stopped(raw, "--output_dir", output, *flags)
    before, work = times(output), output.with_name("dataset.work")
    for name in (".DS_Store", "settings.json.part"):  # of a system, of a run killed as it wrote
        (work / name).touch()
    stop_before("write_dataset")
    stopped(raw, "--output_dir", output)
    assert (times(output) == before) == kept
    prepare(raw, "--output_dir", output)
    assert contents(output) == contents(plain) and not work.exists()


def test_songs_named_by_another_path_are_not_cut_anew(raw, output, stop_before, tmp_path):
    stop_before("write_dataset")
    stopped(raw, "--output_dir", output)
    before = times(output)
    (tmp_path / "linked").symlink_to(raw)
    for same in (raw / "jazz" / "..", tmp_path / "linked"):
        stop_before("write_dataset")
        stopped(same, "--output_dir", output)
        assert times(output) == before


def removes_once(folder, *arguments, remove=shutil.rmtree, **flags):
    remove(folder, *arguments, **flags)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("removes", "backwards"), [(removes_once, False), (clears_no_clips, True)], ids=["one", "some"]
)
def test_a_run_that_is_stopped_while_it_clears_another_s_work_leaves_no_record_without_clips(
    raw, plain, output, stop_before, monkeypatch, removes, backwards
):
    """Nor clips without what says that they are ours, whatever order the disk lists them in."""
    listed = Path.iterdir
    stop_before("write_dataset")
    stopped(raw, "--output_dir", output)
    monkeypatch.setattr(work_folder.shutil, "rmtree", removes)
    monkeypatch.setattr(
        Path, "iterdir", lambda folder: iter(sorted(listed(folder), reverse=backwards))
    )
    stopped(raw, "--output_dir", output, "--clip_seconds", 1)
    monkeypatch.undo()
    prepare(raw, "--output_dir", output)
    assert contents(output) == contents(plain)


def test_a_song_that_is_cut_anew_has_no_record_before_its_clips(raw, tmp_path, monkeypatch):
    (tmp_path / "songs").mkdir()
    song = (min(raw.rglob("*.flac")), "song", tmp_path, CutSettings(1.0))
    cut_song(*song)
    monkeypatch.setattr(clips, "read_tags", lambda path: sys.exit("stopped"))
    with pytest.raises(SystemExit):
        cut_song(*song)
    assert not list(tmp_path.rglob("*.json")) and not list(tmp_path.rglob("*.flac"))


def test_a_song_that_has_changed_since_it_was_cut_has_no_record(raw, tmp_path):
    (tmp_path / "songs").mkdir()
    source, settings = tmp_path / "song.flac", CutSettings(1.0)
    shutil.copy(min(raw.rglob("*.flac")), source)
    cut_song(source, "song", tmp_path, settings)
    assert clips.SongRecord.load(tmp_path / "songs", "song", source, settings)
    os.utime(source, (0, 0))
    assert clips.SongRecord.load(tmp_path / "songs", "song", source, settings) is None


def test_what_is_measured_and_not_asked_for_changes_nothing(raw, output, stop_before, tmp_path):
    flags = ("--duplicates", "ignore", "--feature_stats", "false")
    prepare(raw, "--output_dir", tmp_path / "plain" / "dataset", *flags)
    stop_before("write_dataset")
    stopped(raw, "--output_dir", output)
    before = times(output)
    stop_before("write_dataset")
    stopped(raw, "--output_dir", output, *flags)
    assert times(output) == before
    prepare(raw, "--output_dir", output, *flags)
    assert contents(output) == contents(tmp_path / "plain" / "dataset")


def test_a_mistake_clears_nothing_and_leaves_nothing(raw, output, stop_before, tmp_path, capsys):
    groups = tmp_path / "groups.csv"
    jazz = sorted(path.relative_to(raw).as_posix() for path in (raw / "jazz").rglob("*.flac"))
    groups.write_text("path,group\n" + "".join(f"{path},one\n" for path in jazz))
    mistakes = {
        "cannot be read": ("--splits_from", tmp_path / "nowhere"),
        "'jazz' has 1; .* use a narrower --group_by": ("--group_by", groups),
    }

    def make_mistakes():
        for message, flags in mistakes.items():
            with pytest.raises(UserError, match=message):
                prepare(raw, "--output_dir", output, "--clip_seconds", 1, *flags)
        assert "cutting" not in capsys.readouterr().err

    make_mistakes()
    assert [path.name for path in tmp_path.iterdir()] == ["groups.csv"]
    stop_before("write_dataset")
    stopped(raw, "--output_dir", output)
    before = times(output)
    capsys.readouterr()
    make_mistakes()
    assert len(before) == 8 and times(output) == before


def test_a_file_in_the_output_s_place_is_told_before_a_song_is_cut(raw, output):
    output.write_text("mine")
    with pytest.raises(UserError, match="stands already"):
        prepare(raw, "--output_dir", output)
    assert output.read_text() == "mine" and not output.with_name("dataset.work").exists()


def test_where_no_song_can_be_used_the_table_that_says_why_stays(tree, output):
    raw = tree(*(f"raw/{genre}/{song}.wav" for genre in ("jazz", "rock") for song in "abc")) / "raw"
    with pytest.raises(UserError, match="has the reason"):
        prepare(raw, "--output_dir", output)
    assert len(list(read_songs(output.with_name("dataset.work")))) == 6


def test_an_update_of_an_empty_folder_makes_a_dataset(raw, plain, output):
    output.mkdir()
    work = output.with_name("dataset.work")
    work.mkdir()
    (work / "settings.json.part").touch()  # of a run that was killed as it began
    assert prepare(raw, "--output_dir", output, "--update") == 0
    assert contents(output) == contents(plain)


def test_a_run_that_starts_as_another_ends_keeps_a_third_out(raw, output, monkeypatch):
    first, second, third = (WorkFolder(PrepareArguments(str(raw), str(output))) for _ in range(3))
    release = FileLock.release

    def release_to_second(lock):
        monkeypatch.undo()
        release(lock)
        second.__enter__()

    with first:
        monkeypatch.setattr(FileLock, "release", release_to_second)
    with pytest.raises(UserError, match="another run is at work"), third:
        pass
    second.__exit__()
    with third:
        pass
    assert list(output.parent.iterdir()) == []


def test_what_may_not_be_written_to_is_told_before_a_song_is_cut(raw, output, no_privileges):
    prepare(raw, "--output_dir", output)
    for folder, options in (
        (output.parent, ["--output_dir", output.with_name("other")]),
        (output, ["--output_dir", output, "--update"]),
    ):
        folder.chmod(0o500)
        try:
            with pytest.raises(UserError, match=f"nothing can be written in '{folder}'"):
                prepare(raw, *options)
        finally:
            folder.chmod(0o700)
    assert [path.name for path in output.parent.iterdir()] == [output.name]
