"""Which songs are held out for validation where a dataset has no such split."""

import pytest
from datasets import Dataset, DatasetDict

from genreast.errors import UserError
from genreast.training.held_out import with_validation
from genreast.training.steps import check_splits


@pytest.mark.parametrize("seed", range(20))
def test_the_only_song_of_a_genre_stays_in_train(seed):
    songs = [f"song {number}" for number in range(31)]
    labels = [number % 3 for number in range(30)] + [3]
    rows = Dataset.from_dict({"label": labels, "song_id": songs, "group": songs})
    splits = with_validation(DatasetDict(train=rows), seed)
    assert set(splits["train"]["label"]) == {0, 1, 2, 3}
    assert not set(splits["train"]["group"]) & set(splits["validation"]["group"])
    assert len(splits["validation"]) > 0


def by_songs(genres: dict[str, list[int]]) -> DatasetDict:
    """A train split of genres, each with the numbers of clips of its songs."""
    rows = [
        (label, f"{genre} {song}")
        for label, (genre, songs) in enumerate(genres.items())
        for song, clips in enumerate(songs)
        for _ in range(clips)
    ]
    labels, songs = map(list, zip(*rows, strict=True))
    return DatasetDict(train=Dataset.from_dict({"label": labels, "song_id": songs, "group": songs}))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "genres",
    [
        {"a": [20], "b": [2] * 5, "c": [2] * 5},
        {"a": [1] * 2, "b": [1] * 2},
        {"a": [3], "b": [1, 9]},
        {"a": [1] * 4, "b": [5] * 3},
    ],
    ids=["one large song", "four songs", "three songs", "seven songs"],
)
def test_a_few_songs_are_enough_to_hold_one_out(genres, seed):
    splits = with_validation(by_songs(genres), seed)
    assert 0 < len(set(splits["validation"]["song_id"])) <= len(genres)
    assert set(splits["train"]["label"]) == set(range(len(genres)))
    assert not set(splits["train"]["song_id"]) & set(splits["validation"]["song_id"])
    assert len(splits["train"]) + len(splits["validation"]) == sum(map(sum, genres.values()))


@pytest.mark.parametrize("seed", range(10))
def test_an_artist_of_two_genres_who_would_take_one_along_stays_in_train(seed):
    genres, artists = [0, 0, 1, 1], ["a", "both", "b", "both"]
    columns = {"label": genres, "song_id": [*"1234"], "group": artists}
    splits = with_validation(DatasetDict(train=Dataset.from_dict(columns)), seed)
    assert set(splits["train"]["label"]) == {0, 1}


def test_where_no_song_can_be_held_out_it_is_said_what_would_help():
    splits = by_songs({"a": [20], "b": [5]})
    assert set(with_validation(splits, 0)) == {"train"}
    with pytest.raises(UserError, match=r"but train \(25\); it takes a genre of two songs or more"):
        check_splits(with_validation(splits, 0), "data")
