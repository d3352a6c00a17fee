"""Stops and broken files, in short; `python -m benchmarks.faults` is the full form."""

import pytest

from benchmarks.faults import broken_test, kill_test


@pytest.mark.parametrize("update", [False, True], ids=["new", "update"])
def test_killed_runs_end_byte_identical(tmp_path, update):
    result = kill_test(tmp_path, kills=2, songs=10, update=update)
    assert result["byte_identical"] == 2
    assert result["seen_unfinished"] == 0


def test_broken_files_are_all_listed_and_stop_nothing(tmp_path):
    result = broken_test(tmp_path, count=32)
    assert result["listed"] == result["files"] == 32
    assert result["without_reason"] == 0
    assert result["statuses"]["unreadable"] >= 12
