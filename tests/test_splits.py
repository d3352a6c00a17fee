"""Splits: no group in two, every genre in all, near the asked shares, and stable."""

import random
from collections import Counter, defaultdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from genreast.data.splits import SPLITS, TOLERANCE, Member, check_enough, split_songs
from genreast.errors import UserError


@st.composite
def libraries(draw, shared_artists=False):
    """Random songs: each genre's groups have 1 to 6 songs; some artists may play two genres."""
    songs = []
    genres = draw(st.integers(2, 5))
    for genre in range(genres):
        sizes = draw(st.lists(st.integers(1, 6), min_size=3, max_size=25))
        for number, size in enumerate(sizes):
            for song in range(size):
                group = f"{genre}-{number}"
                songs.append(Member(f"{group}-{song}", f"genre {genre}", group))
    if shared_artists:
        for number in range(draw(st.integers(1, 12))):
            for genre in draw(st.permutations(range(genres)))[: draw(st.integers(2, 3))]:
                for song in range(draw(st.integers(1, 5))):
                    group = f"shared-{number}"
                    songs.append(Member(f"{group}-{genre}-{song}", f"genre {genre}", group))
    return songs


fractions = st.sampled_from([(0.1, 0.1), (0.2, 0.1), (0.05, 0.3), (0.0, 0.2), (0.3, 0.3)])


def counts(songs, splits):
    """Songs per (genre, split), and the largest group of each genre."""
    held, largest = Counter(), defaultdict(int)
    for song in songs:
        held[song.genre, splits[song.group]] += 1
    for (genre, _), size in Counter((song.genre, song.group) for song in songs).items():
        largest[genre] = max(largest[genre], size)
    return held, largest


@settings(max_examples=150, deadline=None)
@given(libraries(), fractions, st.integers(0, 5))
def test_covering_present_and_within_one_group_of_ideal(songs, shares, seed):
    splits = split_songs(songs, *shares, seed)
    assert set(splits) == {song.group for song in songs}
    held, largest = counts(songs, splits)
    total = Counter(song.genre for song in songs)
    for genre in total:
        assert held[genre, "train"] > 0
        for split, share in zip(("validation", "test"), shares, strict=True):
            if not share:
                assert held[genre, split] == 0
                continue
            assert held[genre, split] > 0
            groups = len({song.group for song in songs if song.genre == genre})
            if groups > 5:  # with fewer, one group a split may be all there is to give
                assert abs(held[genre, split] - share * total[genre]) <= largest[genre]


@settings(max_examples=100, deadline=None)
@given(libraries(shared_artists=True), fractions)
def test_groups_of_many_genres_leave_every_genre_in_every_split(songs, shares):
    splits = split_songs(songs, *shares, seed=0)
    held, _ = counts(songs, splits)
    for genre in {song.genre for song in songs}:
        for split, share in zip(SPLITS, (1, *shares), strict=True):
            assert bool(held[genre, split]) == bool(share)


@settings(max_examples=60, deadline=None)
@given(libraries(shared_artists=True), fractions)
def test_no_group_of_shared_genres_would_bring_the_counts_nearer_elsewhere(songs, shares):
    """The cost is the sum of squared deviations, as shares of each genre; none is left to gain
    but what TOLERANCE forgoes, and what would empty a split of a genre."""
    splits = split_songs(songs, *shares, seed=0)
    held, _ = counts(songs, splits)
    total = Counter(song.genre for song in songs)
    ideal = dict(zip(("validation", "test", "train"), (*shares, 1 - sum(shares)), strict=True))
    groups = defaultdict(Counter)
    for song in songs:
        groups[song.group][song.genre] += 1
    shared = {genre for genres in groups.values() if len(genres) > 1 for genre in genres}

    def cost(genre, split, moved=0):
        return (held[genre, split] + moved - ideal[split] * total[genre]) ** 2 / total[genre] ** 2

    for group, genres in groups.items():
        here = splits[group]
        alone = any(held[genre, here] == count for genre, count in genres.items())
        if alone or not shared & genres.keys():
            continue
        for split in {split for split in SPLITS if ideal[split]} - {here}:
            gain = sum(
                cost(genre, here)
                + cost(genre, split)
                - cost(genre, here, -count)
                - cost(genre, split, count)
                for genre, count in genres.items()
            )
            assert gain <= len(genres) * TOLERANCE**2 / 2 + 1e-9


@pytest.mark.parametrize("shared", [0.2, 0.4])
def test_genres_that_share_artists_are_as_even_as_scikit_learn_makes_them(shared):
    """150 artists, five genres, a share of the artists in two: each split within one artist of
    its tenth of each genre, and by the mean square no further from it than StratifiedGroupKFold."""
    draw = random.Random(0)
    ours, theirs = [], []
    for seed in range(6):
        songs = []
        for artist in range(150):
            genres = draw.sample("ABCDE", 1 + (draw.random() < shared))
            for song in range(draw.choice([1, 2, 3, 5, 8])):
                songs.append(Member(f"{artist}-{song}", draw.choice(genres), f"{artist}"))
        held, largest = counts(songs, split_songs(songs, 0.1, 0.1, seed))
        labels = np.array([song.genre for song in songs])
        folds = StratifiedGroupKFold(10, shuffle=True, random_state=seed)
        folds = [fold for _, fold in folds.split(labels, labels, [song.group for song in songs])]
        for genre, total in Counter(labels.tolist()).items():
            theirs += [abs((labels[fold] == genre).sum() / total - 0.1) for fold in folds[:2]]
            for split in ("validation", "test"):
                assert abs(held[genre, split] - 0.1 * total) <= largest[genre]
                ours.append(abs(held[genre, split] / total - 0.1))
    assert np.mean(np.square(ours)) <= np.mean(np.square(theirs))


def in_every_split(groups, splits):
    """Whether each genre of the groups (group → genres) stands in all three splits."""
    found = {(genre, splits[group]) for group, genres in groups.items() for genre in genres}
    return len(found) == 3 * len({genre for genre, _ in found})


def one_song_each(groups):
    return [Member(f"{g}-{genre}", genre, g) for g, genres in groups.items() for genre in genres]


def test_where_groups_stand_in_each_others_way_a_way_is_found_if_there_is_one():
    """Against every way there is, over small libraries of which some have none."""
    draw = random.Random(0)
    libraries = [dict(enumerate([["C", "B"], ["B"], ["A"], ["C"], ["A", "B"], ["C", "A"]]))]
    for _ in range(400):
        genres = "ABC"[: draw.randint(2, 3)]
        sizes = [draw.randint(1, 2) for _ in range(draw.randint(3, 7))]
        libraries.append({n: draw.sample(genres, size) for n, size in enumerate(sizes)})
    refused = 0
    for groups in libraries:
        groups = {f"{number}": genres for number, genres in groups.items()}
        if min(Counter(genre for genres in groups.values() for genre in genres).values()) < 3:
            continue
        try:
            assert in_every_split(groups, split_songs(one_song_each(groups), 0.1, 0.1, 0))
        except UserError as error:
            refused += 1
            assert "no way was found to bring every genre into 3 splits" in str(error)
            for way in product(SPLITS, repeat=len(groups)):
                assert not in_every_split(groups, dict(zip(groups, way, strict=True)))
    assert refused


@settings(max_examples=60, deadline=None)
@given(libraries(shared_artists=True), st.randoms(use_true_random=False))
def test_the_order_of_files_does_not_matter(songs, random):
    shuffled = songs[:]
    random.shuffle(shuffled)
    assert split_songs(shuffled, 0.1, 0.1, 3) == split_songs(songs, 0.1, 0.1, 3)


@settings(max_examples=100, deadline=None)
@given(libraries() | libraries(shared_artists=True), st.integers(0, 40), fractions)
def test_songs_added_later_leave_earlier_songs_where_they_were(songs, added, shares):
    before = split_songs(songs, *shares, seed=1)
    earlier = {song.song_id: before[song.group] for song in songs}
    new = [Member(f"new-{n}", songs[n % len(songs)].genre, f"new-{n // 2}") for n in range(added)]
    after = split_songs(new + songs, *shares, seed=1, earlier=earlier)
    assert all(after[group] == split for group, split in before.items())


def test_added_songs_go_where_they_are_missing():
    songs = [Member(f"{n}", "rock", f"{n}") for n in range(10)]
    before = split_songs(songs, 0.1, 0.1, 0)
    earlier = {song.song_id: before[song.group] for song in songs}
    more = songs + [Member(f"new {n}", "rock", f"new {n}") for n in range(90)]
    after = split_songs(more, 0.1, 0.1, 0, earlier)
    assert Counter(after.values()) == {"train": 80, "validation": 10, "test": 10}


def test_seeds_differ():
    songs = [Member(f"{n}", "rock", f"{n}") for n in range(60)]
    assert split_songs(songs, 0.1, 0.1, 0) != split_songs(songs, 0.1, 0.1, 1)


def test_a_link_between_two_splits_joins_them_in_one():
    songs = [Member(f"{n}", "rock", f"{n}") for n in range(30)]
    before = split_songs(songs, 0.2, 0.2, 0)
    train = next(song for song in songs if before[song.group] == "train")
    test = next(song for song in songs if before[song.group] == "test")
    merged = [
        Member(song.song_id, song.genre, "joined" if song in (train, test) else song.group)
        for song in songs
    ]
    after = split_songs(merged, 0.2, 0.2, 0, {s.song_id: before[s.group] for s in songs})
    assert after["joined"] == "train", "what a model has learned is not held out"


def test_an_earlier_song_moves_only_where_its_genre_would_lack_a_split():
    songs = [Member(f"{n}", "rock", f"{n // 2}") for n in range(40)]
    songs += [Member("40", "rock", "20")]
    before = split_songs(songs, 0.1, 0.1, 0)
    left = [song for song in songs if before[song.group] != "test"]
    after = split_songs(left, 0.1, 0.1, 0, {song.song_id: before[song.group] for song in songs})
    moved = [song.group for song in left if after[song.group] != before[song.group]]
    assert len(set(moved)) == 1 and [after[group] for group in moved] == ["test"] * len(moved)
    assert set(after.values()) == set(SPLITS)


def test_too_few_groups_name_the_genre_and_the_remedy():
    songs = [Member(f"{n}", "rock", f"{n}") for n in range(9)]
    songs += [Member(f"jazz {n}", "jazz", f"artist {n % 2}") for n in range(9)]
    with pytest.raises(UserError, match=r"3 splits: 'jazz' has 2; expected 3.*--val_fraction 0"):
        split_songs(songs, 0.1, 0.1, 0)
    split_songs(songs, 0.0, 0.2, 0)


def test_of_many_genres_of_few_songs_some_are_named():
    with pytest.raises(UserError) as error:
        check_enough({f"genre {number:03}": 1 for number in range(200)}, 0.1, 0.1)
    assert "'genre 008' has 1, 191 other genres have too few; expected 3" in str(error.value)
    assert len(str(error.value)) < 500


def test_only_what_would_help_is_named_where_groups_are_too_few():
    def remedies(groups, songs=None):
        with pytest.raises(UserError) as error:
            check_enough({"jazz": groups, "rock": 9}, 0.1, 0.1, songs and {"jazz": songs})
        return str(error.value).partition("To mend it, ")[2]

    both = "--val_fraction 0 {} --test_fraction 0"
    assert "--min_songs_per_genre" not in remedies(2, songs=9)
    assert "narrower --group_by" in remedies(2, songs=9)
    assert "--group_by" not in remedies(2, songs=2) + remedies(2)
    assert "--min_songs_per_genre" in remedies(2)
    assert both.format("or") in remedies(2) and both.format("and") in remedies(1)
    assert "fraction" not in remedies(0)
