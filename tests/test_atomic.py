"""A file has its name once it is whole, and not before."""

import resource
import signal

import pytest

from genreast.atomic import at_once


@pytest.mark.parametrize("before", [None, "before"])
def test_a_file_is_there_once_it_is_whole_and_what_stood_there_until_then(tmp_path, before):
    path = tmp_path / "genres.csv"
    if before:
        path.write_text(before)

    def there() -> str | None:
        return path.read_text() if path.exists() else None

    with pytest.raises(ZeroDivisionError), at_once(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert there() == before and list(tmp_path.iterdir()) == [path] * bool(before)
    with pytest.raises(KeyboardInterrupt), at_once(path) as part:
        raise KeyboardInterrupt
    assert there() == before
    with at_once(str(path)) as part:
        part.write_text("whole")
        assert part.name == "genres.csv.part" and there() == before
    assert there() == "whole" and list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_way_stays_and_no_part_is_left(tmp_path):
    (tmp_path / "song.png").mkdir()
    with pytest.raises(IsADirectoryError), at_once(tmp_path / "song.png") as part:
        part.write_text("picture")
    assert [path.name for path in tmp_path.iterdir()] == ["song.png"]


def test_a_disk_that_is_full_is_told_with_the_file_that_found_no_room(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)  # a file too large is told as a full disk is
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
    try:
        with pytest.raises(OSError) as error, at_once(tmp_path / "song.png") as part:
            part.write_bytes(bytes(100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert error.value.filename == str(tmp_path / "song.png") and not list(tmp_path.iterdir())
