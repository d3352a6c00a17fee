"""Two runs do not write to one place, and a disk without locks stops none."""

import errno
import fcntl

import pytest

from genreast.errors import UserError
from genreast.lock import alone


def test_a_second_run_is_refused_until_the_first_is_done(tmp_path):
    for _ in range(2):
        with alone(tmp_path / "lock", "one"), pytest.raises(UserError, match="two"):
            alone(tmp_path / "lock", "two").__enter__()
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_told_of_and_used(error, tmp_path, monkeypatch, capsys):
    def refuse(*_):  # as network disks do that are mounted so
        raise OSError(error, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone(tmp_path / "lock", "another run"):
        assert "see that no other run writes there" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
