"""The staging folder holds what belongs on the Hub, and nothing that must stay here."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trained_model
import yaml
from conftest import ROOT
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trained_model import PUBLISHED, make_evaluation, make_model_dir

from genreast.errors import UserError
from genreast.publishing.privacy import scan
from genreast.publishing.redaction import without_paths
from genreast.publishing.staging import check_model_dir, read_evaluation, stage_model
from genreast.publishing.staging_folder import files_in, fill_aside

KILLED = """
import os, sys
from pathlib import Path
from genreast.publishing.staging_folder import fill_aside
fill_aside(Path(sys.argv[1]), (), lambda folder: os.kill(os.getpid(), 9))
"""


def page(folder: Path) -> str:
    return f"# {len(files_in(folder))} files\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return make_model_dir(tmp_path_factory.mktemp("models") / "first")


@pytest.fixture
def model_dir(trained, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(trained, tmp_path / "model"))


@pytest.fixture
def staged(trained, tmp_path) -> Path:
    evaluation = make_evaluation(tmp_path / "evaluation", trained)
    stage_model(trained, evaluation, tmp_path / "staged", page)
    return tmp_path / "staged"


def test_exactly_the_files_that_belong_are_staged(staged):
    events = next(name for name in files_in(staged) if "tfevents" in name)
    assert files_in(staged) == sorted([*PUBLISHED, events])
    assert re.fullmatch(r"runs/events\.out\.tfevents\.\d+\.0", events), "no machine's name in it"


def test_what_is_staged_passes_the_scan_and_keeps_its_content(staged, trained):
    scan(staged, user="alice")
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        assert (staged / name).read_bytes() == (trained / name).read_bytes()
    assert yaml.safe_load((staged / "training_config.yaml").read_text())["command"] == (
        "train_hf.py --output_dir first"
    )
    assert json.loads((staged / "metrics.json").read_text())["dataset"] == "processed"


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("/home/Jane Doe (private)/models/mine", "mine"),
        ("../../../home/alice/songs", "songs"),
        ("../Jane Doe (private)/songs/", "songs"),
        ("Jane Doe/models/mine", "mine"),
        ("C:\\Users\\Jane Doe\\songs", "songs"),
        ("alice/genre", "alice/genre"),
        ("mine", "mine"),
    ],
)
def test_a_path_keeps_its_last_part_alone_whatever_is_in_it(model_dir, tmp_path, place, told):
    evaluation = make_evaluation(tmp_path / "evaluation", model_dir)
    metrics = json.loads((evaluation / "metrics.json").read_text())
    metrics |= {"model": place, "dataset": place, "comparison": {"other": place, "songs": 3}}
    metrics["comparison"]["other_model"] = place
    metrics["unreadable"] = {"jazz/caf\udce9.flac": "no audio in it"}  # a name that is no Unicode
    (evaluation / "metrics.json").write_text(json.dumps(metrics))
    training = yaml.safe_load((model_dir / "training_config.yaml").read_text())
    training["settings"] |= {"model_name_or_path": place, "dataset": place, "output_dir": place}
    training["settings"]["pth_labels"] = place
    training["dataset"]["name"] = place
    (model_dir / "training_config.yaml").write_text(yaml.safe_dump(training))

    stage_model(model_dir, evaluation, tmp_path / "staged", page)
    published = json.loads((tmp_path / "staged" / "metrics.json").read_text())
    assert (published["model"], published["dataset"]) == (told, told)
    assert published["comparison"] == {"other": told, "songs": 3, "other_model": told}
    assert published["song"] == metrics["song"]
    assert published["unreadable"] == metrics["unreadable"]
    published = yaml.safe_load((tmp_path / "staged" / "training_config.yaml").read_text())
    told_of = [published["settings"][name] for name in ("model_name_or_path", "dataset")]
    assert [*told_of, published["settings"]["output_dir"], published["dataset"]["name"]] == [
        told
    ] * 4
    assert published["dataset"]["splits"] == training["dataset"]["splits"]


def test_a_path_that_leads_above_is_shortened_in_a_command_too():
    command = "train_hf.py --dataset ../../home/alice/songs --output_dir=../first"
    assert without_paths(command) == "train_hf.py --dataset songs --output_dir=first"


def test_scalars_survive_and_texts_do_not(staged):
    events = EventAccumulator(str(next((staged / "runs").iterdir())))
    events.Reload()
    assert events.Tags()["scalars"] == ["train/loss"]
    assert events.Scalars("train/loss")[0].value == 0.5
    assert events.Tags()["tensors"] == []


def test_an_evaluation_of_genres_by_other_names_is_refused(model_dir, tmp_path):
    evaluation = make_evaluation(tmp_path / "evaluation", model_dir)
    assert read_evaluation(model_dir, evaluation)["split"] == "test"
    config = json.loads((model_dir / "config.json").read_text())
    config["id2label"]["2"] = "Rock"
    (model_dir / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"tells of a genre 'rock' that config\.json .* 'Rock'"):
        read_evaluation(model_dir, evaluation)


def test_staging_again_replaces_what_an_earlier_staging_left(staged, trained):
    stage_model(trained, None, staged, page)
    assert not (staged / "metrics.json").exists()
    assert not list(staged.parent.glob(".staging-*"))


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "staged"], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 2
    fill_aside(tmp_path / "staged", ("a",), lambda folder: (folder / "a").touch())
    assert [path.name for path in tmp_path.iterdir()] == ["staged"]
    assert files_in(tmp_path / "staged") == ["a"]


def test_two_runs_do_not_fill_one_folder(tmp_path):
    def fill(folder: Path) -> None:
        (folder / "a").touch()
        with pytest.raises(UserError, match=r"another run is filling '.*staged'; wait for it"):
            fill_aside(tmp_path / "staged", ("a",), fill)
        fill_aside(tmp_path / "other", ("b",), lambda folder: (folder / "b").touch())

    fill_aside(tmp_path / "staged", ("a",), fill)
    assert files_in(tmp_path) == ["other/b", "staged/a"]


def test_staging_inside_the_model_folder_does_not_feed_on_itself(model_dir):
    names = []
    for _ in range(2):
        stage_model(model_dir, None, model_dir / "hub_staging", page)
        names.append(files_in(model_dir / "hub_staging"))
    assert names[0] == names[1]


def test_the_folder_that_one_stands_in_and_a_link_to_one_are_filled(trained, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    for folder in (Path("."), tmp_path / "link", Path(".")):
        stage_model(trained, None, folder, page)
        assert "model.safetensors" in files_in(Path(".")), "whoever stands in it sees it"
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "link"]


@pytest.mark.parametrize("moves", range(4))
def test_a_staging_that_was_stopped_is_mended_by_the_next(trained, tmp_path, monkeypatch, moves):
    folder = tmp_path / "staged"
    stage_model(trained, None, folder, page)
    whole = files_in(folder)
    move, done = shutil.move, []

    def stopping(*places):
        if len(done) == moves:
            raise KeyboardInterrupt
        done.append(move(*places))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "move", stopping)
        with pytest.raises(KeyboardInterrupt):
            stage_model(trained, None, folder, page)
    stage_model(trained, None, folder, page)
    assert files_in(folder) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["staged"]


def test_a_folder_of_other_things_is_left_alone(trained, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.md").write_text("words")
    with pytest.raises(UserError, match=r"holds chapter\.md, which no staging made"):
        stage_model(trained, None, tmp_path / "thesis", page)
    assert (tmp_path / "thesis" / "chapter.md").read_text() == "words"


def test_another_model_s_folder_and_an_edited_page_are_left_alone(trained, staged, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(trained / "config.json", other / "config.json")
    with pytest.raises(UserError, match=r"holds config\.json, which no staging made"):
        stage_model(trained, None, other, page)
    with (staged / "README.md").open("a") as file:
        file.write("Thanks to the band.\n")
    with pytest.raises(UserError, match=r"README\.md' was not made here, or edited since"):
        stage_model(trained, None, staged, page)
    assert (staged / "README.md").read_text().endswith("Thanks to the band.\n")


def test_what_a_file_browser_leaves_is_neither_published_nor_in_the_way(trained, staged):
    (staged / ".DS_Store").write_bytes(b"icons")
    (staged / "figures" / "._confusion_matrix.png").write_bytes(b"fork")
    scan(staged, user="alice")
    stage_model(trained, None, staged, page)
    assert not (staged / ".DS_Store").exists()


def test_only_the_known_pictures_go_public(trained, tmp_path):
    evaluation = make_evaluation(tmp_path / "evaluation", trained)
    Image.new("RGB", (4, 4)).save(evaluation / "holiday photo.png")
    (evaluation / "reliability.png").symlink_to(evaluation / "holiday photo.png")
    stage_model(trained, evaluation, tmp_path / "staged", page)
    pictures = [path.name for path in (tmp_path / "staged" / "figures").iterdir()]
    assert pictures == ["confusion_matrix.png"]


def test_a_genre_is_published_as_it_is_called(tmp_path, monkeypatch):
    genres = ["Folk, World /Country/Roots", "Mu\u0308sik 'n' /Pai\u0301s/miles/x", "|/Disc/01"]
    monkeypatch.setattr(trained_model, "GENRES", genres)
    model_dir = make_model_dir(tmp_path / "model")
    evaluation = make_evaluation(tmp_path / "evaluation", model_dir)
    text = "\n".join(re.sub(r"[|]", r"\\|", f"| {genre} | 3 |") for genre in genres)
    staged = tmp_path / "staged"
    stage_model(model_dir, evaluation, staged, lambda _: text)
    assert (staged / "config.json").read_bytes() == (model_dir / "config.json").read_bytes()
    metrics = json.loads((staged / "metrics.json").read_text())
    assert list(metrics["song"]["per_class"]) == genres
    record = yaml.safe_load((staged / "training_config.yaml").read_text())
    assert list(record["dataset"]["splits"]["train"]["songs"]) == genres
    scan(staged, user="miles")


def test_a_folder_that_is_no_trained_model_is_named(model_dir, tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        check_model_dir(tmp_path / "nowhere")
    (model_dir / "model.safetensors").unlink()
    (model_dir / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"no model\.safetensors, no preprocessor_config\.json"):
        check_model_dir(model_dir)


@pytest.mark.parametrize(
    "name, change, words",
    [
        ("config.json", {"architectures": ["BertModel"]}, "expected an ASTForAudio"),
        ("config.json", {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "no label names"),
        ("config.json", {"id2label": ["jazz", "rock"]}, "expected the numbers from 0"),
        ("config.json", {"id2label": {"one": "jazz"}}, "expected the numbers from 0"),
        ("preprocessor_config.json", {"feature_extractor_type": "Wav2Vec2"}, "expected"),
    ],
)
def test_a_model_of_another_kind_is_refused(model_dir, name, change, words):
    content = json.loads((model_dir / name).read_text()) | change
    (model_dir / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match=words):
        check_model_dir(model_dir)


def test_weights_that_are_cut_short_are_refused(model_dir):
    weights = (model_dir / "model.safetensors").read_bytes()
    for content in (weights[:-1], weights[:100], b"", b"not weights at all, not at all"):
        (model_dir / "model.safetensors").write_bytes(content)
        with pytest.raises(UserError, match="is not a whole safetensors file"):
            check_model_dir(model_dir)


def test_an_evaluation_of_another_model_is_refused(trained, tmp_path):
    other = make_model_dir(tmp_path / "other", seed=1)
    evaluation = make_evaluation(tmp_path / "evaluation", other)
    assert read_evaluation(other, evaluation)["split"] == "test"
    with pytest.raises(UserError, match="measured another model"):
        read_evaluation(trained, evaluation)
    with pytest.raises(UserError, match=r"it has no metrics\.json"):
        read_evaluation(trained, tmp_path)


@pytest.mark.parametrize("key, value", [("song", "x"), ("split", {}), ("dataset", 3)])
def test_metrics_of_another_form_are_refused_by_name(trained, tmp_path, key, value):
    evaluation = make_evaluation(tmp_path / "evaluation", trained)
    path = evaluation / "metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps(metrics | {key: None}))
    assert read_evaluation(trained, evaluation)[key] is None
    path.write_text(json.dumps(metrics | {key: value}))
    with pytest.raises(UserError, match=rf"metrics\.json' is damaged or edited: its '{key}' is a"):
        read_evaluation(trained, evaluation)
