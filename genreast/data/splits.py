"""Split songs: by group, stratified by genre, seeded, and the same whatever the order of files."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from genreast.data.coverage import cover
from genreast.errors import UserError

SPLITS = ("train", "validation", "test")
TOLERANCE = 0.005  # of a genre's songs: splits that differ by less are not evened out further
PARTNERS = 50  # groups with which a group may swap, so that time grows with the groups alone
MOST_GENRES = 10  # that a message names: tags can have hundreds
MISSING = 1e6  # the cost of a genre without a split: no sum of deviations comes near it


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

    No split of a genre is empty. Where groups hold one genre each, validation and test come within
    one group of their share of its songs; train takes the rest. Genres that share groups are then
    evened out together, by moves and swaps of groups, until none brings the counts nearer to the
    shares: the sum over genres and splits of (songs - share * all) ** 2 / all ** 2.

    `earlier` gives the split that songs (by id) had in an earlier dataset: their groups stay there,
    unless a split of a genre would be empty.

    Raises UserError for a genre with fewer groups than there are splits, and where no way was found
    to bring every genre into every split.
    """
    shares = {"test": test_fraction, "validation": val_fraction}
    shares = {split: share for split, share in shares.items() if share}
    groups: dict[str, Counter] = defaultdict(Counter)
    for song in sorted(songs, key=lambda song: song.genre):  # sums come out the same in any order
        groups[song.group][song.genre] += 1
    check_enough(
        Counter(genre for genres in groups.values() for genre in genres),
        val_fraction,
        test_fraction,
        Counter(song.genre for song in songs),
    )
    order = sorted(groups, key=lambda group: _shuffled(seed, group))
    balance = _Balance({group: groups[group] for group in order}, shares)
    kept = kept_splits(songs, earlier or {}, {*shares, "train"})
    for group, split in kept.items():
        balance.put(group, split)
    for genre in balance.rarest_first():
        for split in shares:
            balance.fill(split, genre)
    for group in order:
        if group not in balance.chosen:
            balance.put(group, "train")
    free = [group for group in order if group not in kept]
    balance.even_out(free)
    if balance.missing():
        balance.bring_everywhere(free)
        balance.even_out(free)
    return {group: balance.chosen[group] for group in sorted(groups)}


def kept_splits(
    songs: list[Member], known: Mapping[str, str], splits: Collection[str] = SPLITS
) -> dict[str, str]:
    """The split of each group whose songs (by id) have one that is known, among these splits.

    Most of its songs decide where a link joins groups that stand in two splits, for a leak is worse
    than a move. Of as many train decides: what a model has learned is not held out.
    """
    votes: dict[str, Counter] = defaultdict(Counter)
    for song in songs:
        if known.get(song.song_id) in splits:
            votes[song.group][known[song.song_id]] += 1
    return {
        group: max(sorted(count), key=lambda split: (count[split], split == "train"))
        for group, count in votes.items()
    }


def check_trained(songs: Iterable[tuple[str, str]]) -> None:
    """Raises UserError where songs (genre, split) leave a genre without one to learn it from."""
    found: dict[str, set[str]] = defaultdict(set)
    for genre, split in songs:
        found[genre].add(split)
    untrained = sorted(genre for genre, splits in found.items() if "train" not in splits)
    if untrained:
        raise UserError(
            f"the table of splits puts no usable song of '{untrained[0]}' in train"
            + (f", nor of {len(untrained) - 1} other genres" if untrained[1:] else "")
            + "; expected one or more: put some there, or leave the genre out of the table"
        )


class _Balance:
    """How many songs of each genre each split holds, while groups are given out."""

    def __init__(self, groups: Mapping[str, Counter], shares: Mapping[str, float]):
        """`groups` gives each group's songs by genre, in the order in which they are tried.

        `shares` are those of the held-out splits.
        """
        self.groups = groups
        self.groups_of: dict[str, list[str]] = defaultdict(list)
        self.totals = Counter()
        for group, genres in groups.items():
            self.totals.update(genres)
            for genre in genres:
                self.groups_of[genre].append(group)
        shares = {**shares, "train": 1 - sum(shares.values())}
        self.ideal = {
            split: {genre: share * total for genre, total in self.totals.items()}
            for split, share in shares.items()
        }
        self.held = {split: Counter() for split in shares}
        self.chosen: dict[str, str] = {}

    def rarest_first(self) -> list[str]:
        return sorted(self.groups_of, key=lambda genre: (len(self.groups_of[genre]), genre))

    def missing(self) -> list[tuple[str, str]]:
        """Each genre and split without a song of it."""
        held = self.held.items()
        return [(genre, split) for genre in self.totals for split, of in held if not of[genre]]

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
            if left > empty and self._gain(group, held, ideal) >= 0:
                self.put(group, split)
                left -= 1
        free = [group for group in free if group not in self.chosen]
        if not held[genre] and free:
            self.put(min(free, key=lambda group: -self._gain(group, held, ideal)), split)

    def _gain(self, group: str, held: Counter, ideal: dict[str, float]) -> float:
        """How much nearer to the ideal, in songs over all genres, a split comes with a group."""
        return sum(
            abs(held[genre] - ideal[genre]) - abs(held[genre] + count - ideal[genre])
            for genre, count in self.groups[group].items()
        )

    def even_out(self, groups: list[str]) -> None:
        """Move these groups, and swap them with each other, until neither lowers the cost.

        Those of genres that share no group with another stay.
        """
        shared = {genre for held in self.groups.values() if len(held) > 1 for genre in held}
        groups = [group for group in groups if not shared.isdisjoint(self.groups[group])]
        partners: dict[str, list[str]] = defaultdict(list)
        for group in groups:
            for genre in self.groups[group]:
                partners[genre].append(group)
        while sum(self._improve(group, partners) for group in groups):
            pass

    def _improve(self, group: str, partners: Mapping[str, list[str]]) -> bool:
        """Make a group's best move or, where none helps, its best swap; whether there was one."""
        here, songs = self.chosen[group], self.groups[group]
        targets = [split for split in self.held if self._uneven(songs, here, split)]
        found = [(self._cost(songs, here, split), split, "") for split in targets]
        if targets and min(found)[0] > -1e-9:
            near = islice((other for genre in songs for other in partners[genre]), PARTNERS)
            for other in near:
                split, theirs = self.chosen[other], self.groups[other]
                if split in targets and len(theirs) <= len(songs):
                    net = {**songs, **{genre: songs[genre] - theirs[genre] for genre in theirs}}
                    found.append((self._cost(net, here, split), split, other))
        cost, split, other = min(found, default=(0.0, "", ""))
        if cost > -1e-9:  # above what rounding may feign
            return False
        self.put(group, split)
        if other:
            self.put(other, here)
        return True

    def _uneven(self, genres: Counter, one: str, other: str) -> bool:
        """Whether two splits differ in one of the genres by more than TOLERANCE, to their ideal."""
        held, ideal = self.held, self.ideal
        return any(
            abs(held[one][genre] - ideal[one][genre] - held[other][genre] + ideal[other][genre])
            > TOLERANCE * self.totals[genre]
            or not held[other][genre]
            for genre in genres
        )

    def _cost(self, songs: Mapping[str, int], source: str, target: str) -> float:
        """What the sum of squared deviations grows by, halved, when songs change their split."""
        held, gets = self.held[source], self.held[target]
        ideal, want = self.ideal[source], self.ideal[target]
        cost, missing = 0.0, 0
        for genre, n in songs.items():
            less, more = held[genre], gets[genre]
            cost += n * (n + more - want[genre] - less + ideal[genre]) / self.totals[genre] ** 2
            missing += (less == n) - (less == 0) + (more == -n) - (more == 0)
        return cost + MISSING * missing

    def bring_everywhere(self, free: list[str]) -> None:
        """Give every split a group of each genre, by groups that are not free only if need be.

        Those of the missing genres are dealt out anew, then also those of the genres that stand in
        their groups, and so on: a library may be large. Raises UserError where no way was found.
        """
        weights = {group: float(sum(held.values())) for group, held in self.groups.items()}
        total = sum(weights[group] for group in free)
        for group in free:
            weights[group] /= 1 + total  # all of them less than one song that is not free
        for movable in dict.fromkeys((tuple(free), tuple(self.groups))):  # one, if all are free
            genres, reached = {genre for genre, _ in self.missing()}, 0
            while len(genres) > reached:
                reached = len(genres)
                near = [group for group in movable if not genres.isdisjoint(self.groups[group])]
                if near and (found := self._cover(near, weights)):
                    for group, split in found.items():
                        self.put(group, split)
                    return
                genres |= {genre for group in near for genre in self.groups[group]}
        genre, split = self.missing()[0]
        raise UserError(
            f"no way was found to bring every genre into {len(self.held)} splits, for some groups"
            f" hold songs of several: '{genre}' was left without {split}. Add songs, use a narrower"
            " --group_by, or set --val_fraction 0 or --test_fraction 0"
        )

    def _cover(self, movable: list[str], weights: Mapping[str, float]) -> dict[str, str] | None:
        """The splits of these groups that bring each genre into each, if there are such."""
        others = self.groups.keys() - movable
        held = {(genre, self.chosen[group]) for group in others for genre in self.groups[group]}
        pairs = [(genre, split) for genre in self.totals for split in self.held]
        wanted = [pair for pair in pairs if pair not in held]
        groups = {group: self.groups[group] for group in movable}
        return cover(groups, self.chosen, weights, list(self.held), wanted)


def check_enough(
    groups: Mapping[str, int],
    val_fraction: float,
    test_fraction: float,
    songs: Mapping[str, int] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> None:
    """Raises UserError for genres (genre → groups) with fewer groups than there are splits.

    `songs` gives the songs of each genre where groups may hold several, `left_out` what is told
    beside their number of those left out.
    """
    shares = {"--val_fraction 0": val_fraction, "--test_fraction 0": test_fraction}
    flags = [flag for flag, share in shares.items() if share]
    splits = 1 + len(flags)
    poor = {genre: number for genre, number in sorted(groups.items()) if number < splits}
    if not poor:
        return
    told = left_out or {}
    listed = [f"'{name}' has {few}{told.get(name, '')}" for name, few in poor.items()]
    if len(listed) > MOST_GENRES:
        listed[MOST_GENRES - 1 :] = [f"{len(listed) - MOST_GENRES + 1} other genres have too few"]
    joined = {genre for genre in poor if songs and songs[genre] >= splits}
    remedies = ["add songs of other groups" if joined else "add songs"]
    if poor.keys() - joined:
        remedies.append("leave genres of few out (--min_songs_per_genre)")
    if joined:
        remedies.append("use a narrower --group_by")
    if fewest := min(poor.values()):
        remedies.append("set " + (" or " if fewest == len(flags) else " and ").join(flags))
    raise UserError(
        f"too few groups of songs for {splits} splits: {', '.join(listed)}; expected {splits} or"
        f" more a genre. To mend it, {', '.join(remedies[:-1])}, or {remedies[-1]}"
    )


def _shuffled(seed: int, group: str) -> str:
    return hashlib.sha256(f"{seed}\0{group}".encode(errors="surrogateescape")).hexdigest()
