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
