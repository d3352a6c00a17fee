"""What the tests share: real audio where it is at hand."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED_AUDIO = ROOT.parent / "shared" / "audio"


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The folder of real, openly licensed recordings beside the project."""
    if not SHARED_AUDIO.is_dir():
        pytest.skip("the recordings of ../shared/audio are not on this machine")
    return SHARED_AUDIO


@pytest.fixture
def hub():
    """A Hub on loopback where alice may write with the token hf_alice; see tests/hub_server.py."""
    from hub_server import HubServer

    with HubServer() as server:
        server.add_user("hf_alice", "alice", orgs=("band",))
        yield server
        assert not server.unknown, "calls that the stand-in does not know"
        assert not server.leaks, "the token went to the content's origin"
