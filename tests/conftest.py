"""What the tests share: real audio where it is at hand, a Hub on loopback, small data, models."""

import ctypes
import gc
import os
import sys
import time
from pathlib import Path

import pytest

# One thread in the tests and in all that they start: runs are compared to the last digits, and two
# files of tests are busy at once.
os.environ["OMP_NUM_THREADS"] = "1"

ROOT = Path(__file__).resolve().parent.parent
TINY = {  # an AST's size
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
ROWS_A_GROUP, SHARD_BYTES = 3, 150_000  # of the shards below
SHARED_AUDIO = ROOT.parent / "shared" / "audio"


def pytest_collection_finish() -> None:
    """Look for garbage among what tests make alone: in all else it took a fifth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared_audio() -> Path:
    """The folder of real, openly licensed recordings beside the project."""
    if not SHARED_AUDIO.is_dir():
        pytest.skip("the recordings of ../shared/audio are not on this machine")
    return SHARED_AUDIO


@pytest.fixture
def no_privileges():
    """Hold this process to the modes of files, as any user is: root may read and write them all.

    What it starts afresh is root's again.
    """
    if os.geteuid():
        yield
        return
    if sys.platform != "linux":
        pytest.skip("what root may do is laid aside on Linux alone")
    libc = ctypes.CDLL(None)
    # capset(2): version 3 and this thread; twice the effective, permitted and inheritable ones.
    header, held = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(header, held)
    fewer = type(held)(*held)
    fewer[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    libc.capset(header, fewer)
    yield
    libc.capset(header, held)


@pytest.fixture
def tree(tmp_path):
    """Makes files of the given paths, which hold no sound, and returns their folder."""

    def make(*paths: str) -> Path:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(b"sound")
        return tmp_path

    return make


@pytest.fixture
def hub():
    """A Hub on loopback where alice may write with the token hf_alice; see tests/hub_server.py."""
    from hub_server import HubServer

    with HubServer() as server:
        server.add_user("hf_alice", "alice", orgs=("band",))
        yield server
        assert not server.unknown, "calls that the stand-in does not know"
        assert not server.leaks, "the token went to the content's origin"


@pytest.fixture
def own_hub(hub, monkeypatch, tmp_path):
    """The Hub on loopback as this process's own, with an empty cache, and a repository for a model
    and for a dataset on it: alice/genre and alice/songs. Gives alice's HfApi.
    """
    import datasets
    from huggingface_hub import HfApi, constants

    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the client's tries
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    address = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
    api = HfApi(endpoint=hub.url, token="hf_alice")
    api.create_repo("alice/songs", repo_type="dataset")
    api.create_repo("alice/genre")
    return api


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A folder with an untrained AST of three genres whose scores differ from sound to sound."""
    import torch
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    names = ["rock", "jazz", "disco"]
    torch.manual_seed(0)
    config = ASTConfig(
        **TINY,
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


@pytest.fixture(scope="session")
def genre_dataset(tmp_path_factory) -> Path:
    """An audiofolder of three genres (low, middle and high tones), 1 to 1.5 s clips, 2 a song.

    Label ids do not follow the alphabet. Unequal counts: 7, 5 and 4 songs to train on.
    """
    import numpy as np
    import soundfile
    from datasets import Dataset, Features, Value

    from genreast.data.columns import clip_columns

    names = ["rock", "jazz", "disco"]
    features = Features({"file_name": Value("string"), **clip_columns(names)})
    folder = tmp_path_factory.mktemp("dataset")
    generator = np.random.default_rng(0)
    for split, songs_a_genre in {"train": (7, 5, 4), "validation": (3, 2, 2)}.items():
        rows = []
        for label, songs in enumerate(songs_a_genre):
            for song in range(songs):
                for clip in range(2):
                    name = f"{split}_{names[label]}_{song}_{clip}.flac"
                    time = np.arange(16_000 + 8_000 * (song % 2)) / 16_000
                    pitch = (220, 900, 3_000)[label] * generator.uniform(0.8, 1.25)
                    sound = 0.3 * np.sin(2 * np.pi * pitch * time)
                    sound += generator.normal(0, 0.05, len(time))
                    (folder / split).mkdir(exist_ok=True)
                    soundfile.write(folder / split / name, sound, 16_000)
                    song_id = f"{split}_{names[label]}_{song}"
                    rows.append((name, label, song_id, song_id, clip * 1.5))
        columns = dict(zip(features, map(list, zip(*rows, strict=True)), strict=True))
        table = Dataset.from_dict(columns, features=features)
        table.to_parquet(folder / split / "metadata.parquet")
    return folder


@pytest.fixture(scope="session")
def sharded(tmp_path_factory, genre_dataset) -> Path:
    """The genre dataset as `prepare_dataset.py --format parquet` writes it, in small pieces."""
    import pyarrow as pa

    from genreast.data import assembly, clip_files
    from genreast.data.audiofolder import load_splits

    folder = tmp_path_factory.mktemp("sharded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip_files, "SHARD_BYTES", SHARD_BYTES)
        patch.setattr(clip_files, "ROWS_A_GROUP", ROWS_A_GROUP)
        for split, rows in load_splits(genre_dataset).items():
            table = []
            for row in rows:
                clip = Path(row["audio"]["path"])
                table.append({**row, "file_name": clip.name})
                link = folder / "clips" / row["song_id"] / clip.name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(clip)
            names = rows.features["label"].names
            target = folder / "dataset" / "data"
            table.sort(key=lambda row: assembly.mixing_key(row["song_id"]))
            clips = pa.Table.from_pylist(table, schema=assembly.clip_schema(names))
            assembly.write_parquet(clips, folder / "clips", target, split)
    assert len(list(target.glob("train-*"))) > 3
    return folder / "dataset"


@pytest.fixture(scope="session")
def short_start(tmp_path_factory) -> Path:
    """A very small AST that hears 1.6 s at once, with labels of its own, to start training from."""
    import torch
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    torch.manual_seed(0)
    config = ASTConfig(
        **TINY,
        time_stride=16,
        frequency_stride=16,
        max_length=160,
        id2label={0: "speech", 1: "music"},
        label2id={"speech": 0, "music": 1},
    )
    folder = tmp_path_factory.mktemp("start")
    ASTForAudioClassification(config).save_pretrained(folder)
    ASTFeatureExtractor(max_length=160).save_pretrained(folder)
    return folder


def run_training(start: Path | str, dataset: Path, output: Path, *flags: str) -> None:
    """`train_hf.py` in this process, in float32 and quickly."""
    from genreast.config import parse
    from genreast.training.recipe import TrainArguments
    from genreast.training.steps import fine_tune

    words = [] if "--from_scratch" in flags else ["--model_name_or_path", str(start)]
    words += [
        "--dataset",
        str(dataset),
        "--output_dir",
        str(output),
        "--bf16",
        "false",
        "--learning_rate",
        "1e-3",
    ]
    fine_tune(parse(TrainArguments, argv=[*words, "--report_to", "none", *flags]))


def refusal_to_resume(
    checkpoint: Path | str, start: Path, dataset: Path, output: Path, *flags: str
) -> str:
    """The message that refuses to go on from a checkpoint."""
    from genreast.errors import UserError

    with pytest.raises(UserError) as caught:
        run_training(start, dataset, output, "--resume_from_checkpoint", str(checkpoint), *flags)
    return str(caught.value)


FOUR_EPOCHS = ["--num_train_epochs", "4"]


def sounds(labels: list[str], **columns):
    """Shards as `datasets` embeds a folder: of each file its last name alone."""
    from datasets import Audio, ClassLabel, Dataset, Features, Value

    audio = [{"bytes": b"sound", "path": f"{row % 2:02}.wav"} for row in range(len(labels))]
    features = {"audio": Audio(), "label": ClassLabel(names=["blues", "rock"])}
    features |= {name: Value("string") for name in columns}
    return Dataset.from_dict({"audio": audio, "label": labels, **columns}, Features(features))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, genre_dataset, short_start) -> Path:
    """A run of four epochs with its checkpoints."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    run_training(short_start, genre_dataset, folder, *FOUR_EPOCHS)
    return folder


@pytest.fixture
def make_trainer(genre_dataset, short_start, tmp_path):
    """A GenreTrainer on the genre dataset, with its model ready to evaluate, from some settings."""
    import torch

    from genreast.data.audiofolder import load_splits
    from genreast.data.columns import label_names
    from genreast.training.batches import ClipDataset
    from genreast.training.model import feature_extractor
    from genreast.training.recipe import TrainArguments
    from genreast.training.start import start_model
    from genreast.training.trainer import GenreTrainer

    splits = load_splits(genre_dataset)
    clips = [ClipDataset(splits[name]) for name in ("train", "validation")]

    def make(**settings) -> GenreTrainer:
        args = TrainArguments(
            output_dir=str(tmp_path),
            model_name_or_path=str(short_start),
            report_to=["none"],
            **{"bf16": False} | settings,
        )
        torch.manual_seed(0)
        model, _ = start_model(args, label_names(splits), 1.5)
        extractor = feature_extractor(model.config, -6.0, 4.0)
        return GenreTrainer(model.eval(), args, *clips, extractor)

    return make


@pytest.fixture
def evaluate_model(monkeypatch, capsys):
    """Run the script in this process: its exit status, standard output and standard error."""
    import evaluate_model
    from genreast.errors import run

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["evaluate_model.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            run(evaluate_model.main)
        return stop.value.code, *capsys.readouterr()

    return call
