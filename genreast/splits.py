"""Split songs: by group, stratified by genre, seeded, and the same whatever the order of files."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass

from genreast.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Member:
    """What splitting needs to know of a song."""

    song_id: str
    genre: str
    group: str


def split_songs(
    songs: list[Member], val_fraction: float, test_fraction: float, seed: int
) -> dict[str, str]:
    """The split of each group: group → train, validation or test.

    Raises UserError for a genre with fewer groups than there are splits.
    """
    ideal = {"validation": val_fraction, "test": test_fraction}
    ideal = {split: share for split, share in ideal.items() if share}
    by_group = defaultdict(Counter)
    for song in songs:
        by_group[song.group][song.genre] += 1
    _check_enough(by_group, len(ideal) + 1)
    genres = sorted({song.genre for song in songs})
    total = Counter(song.genre for song in songs)
    chosen: dict[str, str] = {}
    held = {split: Counter() for split in ideal}
    for genre in sorted(genres, key=lambda genre: (total[genre], genre)):
        members = sorted(
            (group for group in by_group if genre in by_group[group]),
            key=lambda group: _shuffled(seed, group),
        )
        for split, share in ideal.items():
            wanted = max(1, round(share * total[genre]))
            for group in members:
                if held[split][genre] >= wanted:
                    break
                if group not in chosen:
                    chosen[group] = split
                    held[split].update(by_group[group])
    return {group: chosen.get(group, "train") for group in sorted(by_group)}


def _shuffled(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}\0{group}".encode(errors="surrogateescape")).hexdigest()


def _check_enough(by_group: dict[str, Counter], splits: int) -> None:
    groups = Counter(genre for counts in by_group.values() for genre in counts)
    poor = {genre: count for genre, count in sorted(groups.items()) if count < splits}
    if poor:
        listed = ", ".join(f"'{genre}' has {count}" for genre, count in poor.items())
        raise UserError(
            f"too few songs or groups for {splits} splits: {listed}; expected {splits} or more a"
            " genre. Add songs, take the folder out, or set --val_fraction 0 or --test_fraction 0"
        )
