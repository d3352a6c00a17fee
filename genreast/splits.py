"""Split songs: by group, stratified by genre, seeded, and the same whatever the order of files."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
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
    songs: list[Member],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    earlier: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The split of each group: group → train, validation or test.

    In each genre validation and test come as near to their share of its songs as whole groups
    allow, within one group, and never empty; train takes the rest. `earlier` gives the split that
    songs (by id) had in an earlier dataset: their groups stay there.

    Raises UserError for a genre with fewer groups than there are splits.
    """
    shares = {"test": test_fraction, "validation": val_fraction}
    shares = {split: share for split, share in shares.items() if share}
    groups: dict[str, Counter] = defaultdict(Counter)
    for song in songs:
        groups[song.group][song.genre] += 1
    check_enough(
        Counter(g for genres in groups.values() for g in genres), val_fraction, test_fraction
    )
    order = sorted(groups, key=lambda group: _shuffled(seed, group))
    library = _Library({group: groups[group] for group in order}, shares)
    for group, split in _keep(songs, earlier or {}, {*shares, "train"}).items():
        library.put(group, split)
    for genre in library.rarest_first():
        for split in shares:
            library.fill(split, genre)
    for group in order:
        if group not in library.chosen:
            library.put(group, "train")
    library.repair()
    return {group: library.chosen[group] for group in sorted(groups)}


class _Library:
    """How many songs of each genre each split holds, while groups are given out."""

    def __init__(self, groups: Mapping[str, Counter], shares: Mapping[str, float]):
        """`groups` gives each group's songs by genre, in the order in which they are tried."""
        self.groups = groups
        self.groups_of: dict[str, list[str]] = defaultdict(list)
        totals = Counter()
        for group, genres in groups.items():
            totals.update(genres)
            for genre in genres:
                self.groups_of[genre].append(group)
        self.ideal = {
            split: {genre: share * total for genre, total in totals.items()}
            for split, share in shares.items()
        }
        self.held = {split: Counter() for split in (*shares, "train")}
        self.chosen: dict[str, str] = {}

    def rarest_first(self) -> list[str]:
        return sorted(self.groups_of, key=lambda genre: (len(self.groups_of[genre]), genre))

    def put(self, group: str, split: str) -> None:
        """Give a group to a split, from where it may have been before."""
        if group in self.chosen:
            self.held[self.chosen[group]].subtract(self.groups[group])
        self.chosen[group] = split
        self.held[split].update(self.groups[group])

    def fill(self, split: str, genre: str) -> None:
        """Take groups of a genre while each brings the split nearer to its ideal counts."""
        held, ideal = self.held[split], self.ideal[split]
        empty = sum(not counts[genre] for other, counts in self.held.items() if other != split)
        free = [group for group in self.groups_of[genre] if group not in self.chosen]
        left = len(free)
        for group in free:
            if left <= empty and held[genre]:
                return
            if left > empty and self._gain(group, held, ideal) >= 0:
                self.put(group, split)
                left -= 1
        free = [group for group in free if group not in self.chosen]
        if not held[genre] and free:
            self.put(min(free, key=lambda group: -self._gain(group, held, ideal)), split)

    def repair(self) -> None:
        """Give every split a group of each genre where groups of many genres left one without.

        Raises UserError where no single move does it.
        """
        for genre in self.rarest_first():
            for split, held in self.held.items():
                if held[genre]:
                    continue
                mine = self.groups_of[genre]
                movable = [group for group in mine if self._can_leave(group)]
                if not movable:
                    raise UserError(
                        f"genre '{genre}' cannot stand in the {split} split: its {len(mine)} groups"
                        " hold other genres' only songs there. Use a narrower --group_by"
                    )
                self.put(min(movable, key=lambda group: sum(self.groups[group].values())), split)

    def _can_leave(self, group: str) -> bool:
        held = self.held[self.chosen[group]]
        return all(held[genre] > count for genre, count in self.groups[group].items())

    def _gain(self, group: str, held: Counter, ideal: dict[str, float]) -> float:
        """How much nearer to the ideal, in songs over all genres, a split comes with a group."""
        return sum(
            abs(held[genre] - ideal[genre]) - abs(held[genre] + count - ideal[genre])
            for genre, count in self.groups[group].items()
        )


def check_enough(groups: Mapping[str, int], val_fraction: float, test_fraction: float) -> None:
    """Raises UserError for genres (genre → groups) with fewer groups than there are splits."""
    splits = 1 + bool(val_fraction) + bool(test_fraction)
    poor = {genre: number for genre, number in sorted(groups.items()) if number < splits}
    if poor:
        listed = ", ".join(f"'{genre}' has {number}" for genre, number in poor.items())
        raise UserError(
            f"too few groups of songs for {splits} splits: {listed}; expected {splits} or more a"
            " genre. Add songs, leave genres of few out (--min_songs_per_genre), use a narrower"
            " --group_by, or set --val_fraction 0 or --test_fraction 0"
        )


def _keep(songs: list[Member], earlier: Mapping[str, str], splits: set[str]) -> dict[str, str]:
    """The split that each group's songs had before; most of them decide where a new link joins
    groups that stood in two splits, for a leak is worse than a move."""
    votes: dict[str, Counter] = defaultdict(Counter)
    for song in songs:
        if earlier.get(song.song_id) in splits:
            votes[song.group][earlier[song.song_id]] += 1
    return {
        group: max(sorted(count), key=lambda split: count[split]) for group, count in votes.items()
    }


def _shuffled(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}\0{group}".encode(errors="surrogateescape")).hexdigest()
