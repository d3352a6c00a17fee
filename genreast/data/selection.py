"""Which songs of a library are used, and the group and the split of each."""

import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from genreast.arguments import PrepareArguments
from genreast.audio import SAMPLING_RATE
from genreast.data.duplicates import near_copies
from genreast.data.earlier import Earlier
from genreast.data.genres import Library
from genreast.data.groups import group_keys, joined_groups, why_without_group
from genreast.data.saved_prints import SavedFingerprints
from genreast.data.song_record import FINGERPRINT_FILE, SongRecord
from genreast.data.song_table import SONGS_FILE, SongRow, without_group, write_songs
from genreast.data.songs import as_unicode
from genreast.data.splits import Member, check_enough, check_trained, kept_splits, split_songs
from genreast.data.work_folder import WorkFolder
from genreast.errors import UserError
from genreast.tables import check_known, is_table, read_table


@dataclass(frozen=True)
class Tables:
    """What the user's files say of songs: path → group, and earlier datasets' splits."""

    groups: dict[str, str]
    earlier: list[Earlier]  # where two know a song, the first decides


def read_tables(library: Library, work: WorkFolder, args: PrepareArguments) -> Tables:
    """Read what the user's tables say of songs, before the long work: they may hold mistakes.

    Raises UserError when one cannot be used, when one of splits leaves a genre without a song in
    train, or a genre has fewer groups, as far as they are known without the songs' tags and sound,
    than there are splits.
    """
    groups = {}
    if is_table(args.group_by):
        groups = read_table(args.group_by, "--group_by", "group")
        sounds = [file.path for file in library.files if file.status != "not_audio"]
        check_known(groups, "--group_by", args.group_by, sounds)
    songs = library.songs
    keys = _group_keys([song.path for song in songs], [{}] * len(songs), groups, args)
    known = {
        (song.genre, tuple(own) or song.song_id) for song, own in zip(songs, keys, strict=True)
    }
    if library.splits:
        check_trained((song.genre, song.split) for song in songs)
    else:
        found = Counter(genre for genre, _ in known)
        found = {genre: found[genre] for genre in library.genres}
        counts = Counter(song.genre for song in songs)
        check_enough(found, args.val_fraction, args.test_fraction, counts)
    return Tables(groups, _earlier_datasets(work, args))


def describe(
    library: Library,
    records: dict[str, SongRecord],
    tables: Tables,
    work: WorkFolder,
    args: PrepareArguments,
) -> list[SongRow]:
    """What became of each file: used or why not, its group and its split."""
    earlier, given = tables.earlier, library.splits
    rows = [_row(file, records) for file in library.files]
    used = [row for row in rows if row.status == "used"]
    for dataset in earlier:
        dataset.recognise(used)
    try:
        used, genres = _choose(used, library.genres, earlier, args)
        if given:
            check_trained((row.genre, given[row.song_id]) for row in used)
        else:
            found = Counter(row.genre for row in used)
            found = {genre: found[genre] for genre in genres}
            told = _told_left_out(rows)
            check_enough(found, args.val_fraction, args.test_fraction, left_out=told)
    except UserError as error:
        write_songs(rows, work.path)
        where = f"'{work.path / SONGS_FILE}' has the reason of each file that was left out"
        raise UserError(f"{error}. {where}") from error
    _set_groups(used, records, tables, work, args)
    _set_splits(used, earlier, given, args)
    return rows


def _set_groups(
    used: list[SongRow],
    records: dict[str, SongRecord],
    tables: Tables,
    work: WorkFolder,
    args: PrepareArguments,
) -> None:
    """Give each song its group, and say how many are in none that a key names."""
    links = _link_near(used, work) if args.duplicates == "group" else []
    tags = [records[row.song_id].tags for row in used]
    keys = _group_keys([row.path for row in used], tags, tables.groups, args)
    groups = joined_groups([row.song_id for row in used], keys, links)
    for row, group in zip(used, groups, strict=True):
        row.group = group
    if args.group_by != "song" and (alone := without_group(used)):
        why = why_without_group(args.group_by, args.genre_by == "folder")
        print(f"{alone} of {len(used)} songs {why}: each is its own group", file=sys.stderr)


def _set_splits(
    used: list[SongRow], earlier: list[Earlier], given: dict[str, str], args: PrepareArguments
) -> None:
    """Give each song the split of its group, by the user's table where it is `given`, and say which
    songs are in another than an earlier dataset or the table had them in.
    """
    before = {
        row.song_id: [split for dataset in earlier if (split := dataset.split_of(row))]
        for row in used
    }
    members = [Member(row.song_id, row.genre, row.group) for row in used]
    if given:
        splits = kept_splits(members, given)
    else:
        known = {song: splits[0] for song, splits in before.items() if splits}
        splits = split_songs(members, args.val_fraction, args.test_fraction, args.seed, known)
    for row in used:
        row.split = splits[row.group]
    _tell_moved(used, before)
    if given:
        _tell_not_as_given(used, given, args.splits_table)


def _tell_not_as_given(used: list[SongRow], given: dict[str, str], table: str) -> None:
    """Say which songs, by id, their group keeps out of the split that a table gives them."""
    moved = [row for row in used if row.split != given[row.song_id]]
    if moved:
        row = moved[0]
        print(
            f"songs that '{table}' puts in another split than others of their group: {len(moved)},"
            f" such as '{as_unicode(row.path)}' ({given[row.song_id]} → {row.split}). To have them"
            " where it says: --duplicates ignore and --group_by song",
            file=sys.stderr,
        )


def _tell_moved(used: list[SongRow], before: dict[str, list[str]]) -> None:
    """Say which songs, by id, have left a split that an earlier dataset had them in."""
    moved = [(row, split) for row in used for split in before[row.song_id] if split != row.split]
    learned = [(row, split) for row, split in moved if split == "train"]
    if moved:
        row, split = (learned or moved)[0]
        risk = "a model trained on the earlier dataset may have heard what is now held out"
        print(
            f"songs that did not stay in their split: {len({row.song_id for row, _ in moved})},"
            f" such as '{as_unicode(row.path)}' ({split} → {row.split})"
            + (f": {risk}" if learned else ""),
            file=sys.stderr,
        )


def _group_keys(
    paths: list[str],
    tags: list[dict[str, list[str]]],
    table: dict[str, str],
    args: PrepareArguments,
) -> list[list[str]]:
    """The groups that each song, by path and tags, asks for."""
    below_genres = args.genre_by == "folder"
    return [
        group_keys(path, song, args.group_by, table, below_genres)
        for path, song in zip(paths, tags, strict=True)
    ]


def _told_left_out(rows: list[SongRow]) -> dict[str, str]:
    """Of each genre, how many of its songs were left out, and one with its reason."""
    lost = defaultdict(list)
    for row in rows:
        if row.status not in ("used", "not_audio"):
            lost[row.genre].append(row)
    return {
        genre: f" ({len(of)} left out, such as '{as_unicode(of[0].path)}': {of[0].reason})"
        for genre, of in lost.items()
    }


def _row(file, records: dict[str, SongRecord]) -> SongRow:
    if file.status:
        return SongRow(file.path, file.genre, status=file.status, reason=file.reason)
    record = records[file.song_id]
    return SongRow(
        path=file.path,
        genre=file.genre,
        song_id=file.song_id,
        status=record.status,
        reason=record.reason,
        clips=len(record.starts),
        seconds=record.samples / SAMPLING_RATE,
        recording=record.recording,
    )


def _earlier_datasets(work: WorkFolder, args: PrepareArguments) -> list[Earlier]:
    """The dataset that --splits_from names, then the one that is updated."""
    folders = [Path(args.splits_dataset).resolve()] if args.splits_dataset else []
    if work.replaces:
        folders.append(work.output)
    return [Earlier.read(folder, folder == work.output) for folder in dict.fromkeys(folders)]


def _choose(
    used: list[SongRow], genres: list[str], earlier: list[Earlier], args: PrepareArguments
) -> tuple[list[SongRow], list[str]]:
    """The songs that stay and their genres: each recording once, and no genre of few songs.

    A song of a rare genre goes first, so that no copy elsewhere goes with it. Raises UserError when
    two genres are not left.
    """
    least, group = args.min_songs_per_genre, args.duplicates == "group"
    songs = [same[0] for same in _copies(used, earlier)] if group else used
    counts = Counter(row.genre for row in songs)
    left = [genre for genre in genres if least == 1 or counts[genre] >= least]
    if len(left) > 1:
        used = _drop_rare(used, set(left), least)
    if group:
        used = _drop_equal(used, earlier)
    if len(left) < 2:
        raise UserError(
            f"{len(left) or 'no'} genre has {least} usable songs or more; expected two: lower"
            " --min_songs_per_genre"
        )
    return used, left


def _drop_rare(used: list[SongRow], genres: set[str], least: int) -> list[SongRow]:
    """Keep the songs of these genres; mark the others, whose genres have fewer than `least`."""
    for row in used:
        if row.genre not in genres:
            row.status, row.clips = "rare_genre", 0
            row.reason = f"'{row.genre}' has fewer than {least} songs"
    return [row for row in used if row.status == "used"]


def _drop_equal(used: list[SongRow], earlier: list[Earlier]) -> list[SongRow]:
    """Keep one of each recording that stands in several files; mark the others."""
    for first, *others in _copies(used, earlier):
        for row in others:
            row.status, row.matched_to, row.clips = "duplicate_of", first.path, 0
            row.reason = f"the same sound as '{first.path}'"
    return [row for row in used if row.status == "used"]


def _copies(used: list[SongRow], earlier: list[Earlier]) -> list[list[SongRow]]:
    """The songs of each recording, the one to keep first."""
    copies = defaultdict(list)
    for row in used:
        copies[row.recording].append(row)
    for same in copies.values():
        same.sort(key=lambda row: (not any(one.has_path(row.path) for one in earlier), row.path))
    return list(copies.values())


def _link_near(used: list[SongRow], work: WorkFolder) -> list[tuple[int, int]]:
    """Pairs of songs (by place) that are one recording; each is told of its nearest copy."""
    print("looking for copies", file=sys.stderr)
    prints = SavedFingerprints([work.clips / row.song_id / FINGERPRINT_FILE for row in used])
    matches = sorted(near_copies(prints), key=lambda match: match.bit_errors)
    for match in matches:
        for one, other in ((match.first, match.second), (match.second, match.first)):
            used[one].matched_to = used[one].matched_to or used[other].path
    return [(match.first, match.second) for match in matches]
