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


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A folder with an untrained AST of three genres whose scores differ from sound to sound."""
    import torch
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    names = ["rock", "jazz", "disco"]
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        time_stride=16,
        frequency_stride=16,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    model = ASTForAudioClassification(config)
    torch.nn.init.normal_(model.classifier.dense.weight, std=1.0)
    folder = tmp_path_factory.mktemp("tiny_model")
    model.save_pretrained(folder)
    ASTFeatureExtractor(mean=-5.2, std=3.4).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def song_files(tmp_path_factory) -> dict[str, Path]:
    """Short songs by their length: tones that glide, so that every window differs."""
    import numpy as np
    import soundfile

    folder = tmp_path_factory.mktemp("songs")
    files = {}
    for name, seconds in {"short": 3.7, "ten": 10.0, "long": 34.0}.items():
        time = np.arange(round(seconds * 16_000)) / 16_000
        tone = 0.3 * np.sin(2 * np.pi * (200 + 60 * time) * time)
        noise = np.random.default_rng(len(name)).normal(0, 0.02 * (1 + time / 8))
        files[name] = folder / f"{name}.wav"
        soundfile.write(files[name], tone + noise, 16_000)
    return files
