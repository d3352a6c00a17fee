"""What is a name on the Hub, and when it is looked for there."""

import pytest

from genreast.data.audiofolder import load_splits
from genreast.errors import UserError
from genreast.hub_ids import could_be_on_the_hub, is_hub_id
from genreast.pretrained import load

NO_IDS = ("a b/c", "a/b--c", "~x/y", "ab/ü", "a/b/c", "./a", "/a/b", "a/..", "a", "", None)


@pytest.mark.parametrize("name", NO_IDS)
def test_what_the_hub_s_client_refuses_is_no_id_and_not_asked_for(name):
    assert not is_hub_id(name)
    assert not could_be_on_the_hub(name)
    for read in (load, load_splits) if name else ():
        with pytest.raises(UserError, match=r"is not there: exp|nor a Hub dataset;"):
            read(name)


def test_a_name_inside_a_folder_here_is_a_path_whether_it_is_there_or_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("data/songs") and could_be_on_the_hub("data/songs")
    (tmp_path / "data").mkdir()
    assert is_hub_id("data/songs") and not could_be_on_the_hub("data/songs")
    for read in (load, load_splits):
        with pytest.raises(UserError, match=r"the Hub was not asked: 'data' is a folder here"):
            read("data/songs")
