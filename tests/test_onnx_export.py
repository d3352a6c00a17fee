"""The ONNX files answer as PyTorch does, load in ONNX Runtime, and are published with the model."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi, constants
from trained_model import make_model_dir

from genreast import pretrained
from genreast.arguments import PushArguments
from genreast.config import parse
from genreast.errors import UserError
from genreast.publishing import onnx_export
from genreast.publishing.hub import publish
from genreast.publishing.model_facts import read_facts
from genreast.publishing.privacy import scan
from genreast.publishing.score_check import known_clips
from genreast.publishing.staging import stage_model
from genreast.publishing.staging_folder import files_in
from genreast.publishing.steps import pack

ROOT = Path(__file__).resolve().parent.parent
for package in onnx_export.PACKAGES:
    pytest.importorskip(package, reason=f"{package} is not installed: pip install -e '.[onnx]'")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    model_dir = make_model_dir(tmp_path_factory.mktemp("models") / "first")
    onnx_export.export(model_dir, known_clips(model_dir, None, {}, None))
    return model_dir


@pytest.fixture(scope="module")
def features(exported) -> np.ndarray:
    """Three clips: the model's own features of a tone, of noise and of silence (3, frames, mel)."""
    time = np.arange(80_000) / 16_000
    sounds = [
        0.3 * np.sin(2 * np.pi * 440 * time),
        np.random.default_rng(0).normal(0, 0.1, 80_000),
        np.zeros(80_000),
    ]
    extractor = pretrained.load(str(exported))[1]
    return extractor(sounds, sampling_rate=16_000, return_tensors="np")["input_values"]


def logits_of(path: Path, features: np.ndarray) -> np.ndarray:
    """What stock ONNX Runtime answers."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [value.name for value in session.get_inputs()] == ["input_values"]
    assert [value.name for value in session.get_outputs()] == ["logits"]
    return session.run(None, {"input_values": features})[0]


def pytorch_logits(model_dir: Path, features: np.ndarray) -> np.ndarray:
    model = pretrained.load(str(model_dir))[0]
    with torch.inference_mode():
        return model(torch.from_numpy(features)).logits.numpy()


@pytest.mark.parametrize("batch", [1, 3])
def test_float32_gives_pytorch_s_logits_for_any_batch(exported, features, batch):
    expected = pytorch_logits(exported, features[:batch])
    found = logits_of(exported / "onnx" / "model.onnx", features[:batch])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected) > 0.5, "logits all alike would equal anything"


def test_int8_is_smaller_and_close(exported, features):
    small, large = (exported / "onnx" / name for name in ("model_quantized.onnx", "model.onnx"))
    assert small.stat().st_size < large.stat().st_size
    expected = pytorch_logits(exported, features)
    found = logits_of(small, features)
    assert 0 < np.abs(found - expected).max() < 0.1 * np.ptp(expected)


def test_on_real_music_float32_agrees(exported, shared_audio):
    from genreast.audio import load_audio

    songs = sorted((shared_audio / "waivops_mini").rglob("*.mp3"))[::30]
    extractor = pretrained.load(str(exported))[1]
    clips = [load_audio(song)[:160_000] for song in songs]
    features = extractor(clips, sampling_rate=16_000, return_tensors="np")["input_values"]
    found = logits_of(exported / "onnx" / "model.onnx", features)
    np.testing.assert_allclose(found, pytorch_logits(exported, features), atol=1e-4)


def test_what_is_measured_is_on_the_card(exported, tmp_path):
    stage_model(exported, None, tmp_path / "staged", lambda _: "", with_onnx=True)
    facts = read_facts(tmp_path / "staged", "alice/genre")
    assert facts.onnx["clips"] == 0 and facts.onnx["compared"] == 1, "one made sound"
    rows = {row["file"]: row for row in facts.onnx["files"]}
    for name in ("onnx/model.onnx", "onnx/model_quantized.onnx"):
        assert rows[name]["bytes"] == (tmp_path / "staged" / name).stat().st_size
        assert rows[name]["seconds"] > 0
    assert rows["onnx/model.onnx"]["largest_logit_difference"] <= 1e-4


def test_nothing_of_this_machine_is_in_the_files(exported, tmp_path):
    stage_model(exported, None, tmp_path / "staged", lambda _: "", with_onnx=True)
    scan(tmp_path / "staged", user="alice")
    import onnx

    path = tmp_path / "staged" / "onnx" / "model.onnx"
    model = onnx.load(path)
    model.graph.doc_string = "made in /home/alice/models"
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"onnx/model\.onnx holds the absolute path /home/alice"):
        scan(tmp_path / "staged", user="alice")


def test_the_same_model_is_exported_once_and_a_changed_one_again(exported, tmp_path, monkeypatch):
    def stop(*_):
        raise RuntimeError("exporting")

    model_dir = Path(shutil.copytree(exported, tmp_path / "model"))
    clips = known_clips(model_dir, None, {}, None)
    monkeypatch.setattr(onnx_export, "write_float32", stop)
    onnx_export.export(model_dir, clips)

    config = json.loads((model_dir / "config.json").read_text())
    config["id2label"]["0"] = "blues"
    (model_dir / "config.json").write_text(json.dumps(config))
    with pytest.raises(RuntimeError, match="exporting"):
        onnx_export.export(model_dir, clips)
    assert files_in(model_dir / "onnx") == files_in(exported / "onnx"), "the earlier one stays"


@pytest.mark.parametrize("made_elsewhere", [["notes.txt", "measurements.json"], ["model.onnx"]])
def test_what_no_export_made_stays_and_no_flag_is_named(exported, tmp_path, made_elsewhere):
    model_dir = tmp_path / "model"
    shutil.copytree(exported, model_dir, ignore=shutil.ignore_patterns("onnx"))
    (model_dir / "onnx").mkdir()
    for name in made_elsewhere:
        (model_dir / "onnx" / name).write_text("{}")
    words = rf"holds {made_elsewhere[0]}, which no staging made: move it away$"
    with pytest.raises(UserError, match=words):
        onnx_export.export(model_dir, known_clips(model_dir, None, {}, None))
    assert files_in(model_dir / "onnx") == sorted(made_elsewhere)


def test_publishing_with_the_flag_brings_the_files_to_the_hub(hub, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    api = HfApi(endpoint=hub.url)
    command = [str(exported), "alice/genre", "--staging_dir", str(tmp_path / "staged")]
    exports = set(onnx_export.ONNX_FILES)

    def push(*flags: str) -> None:
        args = parse(PushArguments, argv=[*command, *flags])
        with pack(args, ROOT / "model_card.md", ROOT) as (parcel,):
            publish(parcel.folder, parcel.destination, parcel.check, api)

    for flags, files in ((["--onnx"], exports), (["--take_down"], set())):
        if not files:
            with pytest.raises(UserError, match="as --onnx would add, and its model is the same"):
                push()
        push(*flags)
        found = hub.repo("alice/genre").at("main").files
        assert {name[5:] for name in found if name.startswith("onnx/")} == files
        tags = hub.repo("alice/genre").card_data("main")["tags"]
        assert ("transformers.js" in tags) == bool(files)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(onnx_export, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(UserError, match=r"needs no_such_package: pip install -e '.\[onnx\]'"):
        onnx_export.check_installed()


def test_clips_are_measured_one_by_one_as_memory_allows(exported, features, monkeypatch):
    session_of, batches = onnx_export._session, []

    def recording(path: Path) -> SimpleNamespace:
        session = session_of(path)

        def run(names, inputs):
            batches.append(len(inputs["input_values"]))
            return session.run(names, inputs)

        return SimpleNamespace(run=run)

    monkeypatch.setattr(onnx_export, "_session", recording)
    monkeypatch.setattr(onnx_export, "TIMED_RUNS", 1)
    measured = onnx_export.measure(pretrained.load(str(exported))[0], exported / "onnx", features)
    assert set(batches) == {1}
    assert measured["compared"] == measured["files"][1]["same_genre"] == len(features)


def test_an_export_that_differs_is_refused(exported, features, tmp_path):
    model = pretrained.load(str(exported))[0]
    with torch.no_grad():
        model.classifier.dense.bias[0] += 0.01
    with pytest.raises(UserError, match=r"not give PyTorch's logits: they differ by 0\.01"):
        onnx_export.measure(model, exported / "onnx", features)
