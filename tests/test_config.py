"""Settings: configs are flags written down, and every mistake is named."""

import dataclasses
import logging
import os
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from transformers.utils import logging as transformers_logging

from genreast.arguments import EvaluateArguments, PredictArguments, PrepareArguments, PushArguments
from genreast.config import own_settings, parse
from genreast.errors import UserError
from genreast.training.recipe import TrainArguments
from genreast.training.recipe_checks import UNLISTED


def config(tmp_path: Path, text: str) -> str:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    return str(path)


def test_flags_win_over_the_config_and_the_config_over_defaults(tmp_path):
    path = config(tmp_path, "raw_dir: songs\nval_fraction: 2e-1\nseed: 4\n")
    settings = parse(PrepareArguments, argv=[path, "--seed", "7", "--clip-seconds=5"])
    assert (settings.raw_dir, settings.val_fraction) == ("songs", 0.2)
    assert (settings.seed, settings.clip_seconds) == (7, 5.0)
    assert settings.test_fraction == PrepareArguments(raw_dir="x").test_fraction


def test_a_boolean_flag_does_not_swallow_what_follows():
    before = parse(PushArguments, argv=["model", "--dry_run", "user/name"])
    after = parse(PushArguments, argv=["model", "user/name", "--dry-run", "true"])
    assert before == after
    assert before.dry_run and before.repo_id == "user/name"


def test_positionals_may_stand_on_both_sides_of_flags():
    settings = parse(PredictArguments, argv=["model", "a.mp3", "--top_k", "3"])
    assert settings.songs == ["a.mp3"]
    assert parse(PredictArguments, argv=["--top_k", "3", "model", "a", "b"]).songs == ["a", "b"]


def test_one_song_in_a_config_is_a_list_of_one(tmp_path):
    """Not its letters, among which `/` is a folder of all there is."""
    path = config(tmp_path, "model: 5\nsongs: a/b.mp3\n")
    settings = parse(PredictArguments, argv=[path])
    assert (settings.model, settings.songs) == ("5", ["a/b.mp3"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip_second: 5", "unknown key 'clip_second'; did you mean clip_seconds?"),
        ("clip_seconds: fast", "clip_seconds: invalid float value: 'fast'"),
        ("- 1", "expected lines of 'key: value'"),
        ("a: [1", "is not YAML"),
        ("seed:", "seed is empty; give it a value, or leave it out"),
        ("seed: [1, 2]", "seed holds a list; expected one value"),
        ("seed: 1\nstrict: true\nseed: 2", "seed stands there twice; leave one out"),
    ],
)
def test_a_bad_config_names_itself_and_its_fault(tmp_path, text, message):
    with pytest.raises(UserError) as caught:
        parse(PrepareArguments, argv=[config(tmp_path, text), "songs"])
    assert message in str(caught.value) and "settings.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--raw_dir", "songs"], "unknown flag '--raw_dir'; did you mean RAW_DIR, without a flag?"),
        (["--raw=songs"], "unknown flag '--raw'; did you mean RAW_DIR, without a flag?"),
        (["songs", "--clipseconds", "5"], "did you mean --clip_seconds?"),
        (["songs", "more"], "unknown argument 'more'"),
        (["songs", "--seed", "1", "configs/mine.yaml"], " configs/mine.yaml …; see --help"),
        (["songs", "a.YAML"], "a config comes first"),
        (["songs", "--splits_from", ""], "--splits_from is empty; give it a value, or leave it"),
        (["songs", "--output_dir="], "--output_dir is empty; give it a value, or leave it"),
        (["songs", "--output_dir", " "], "--output_dir is empty; give it a value, or leave it"),
        (["songs", "--seed", "x"], "invalid int value: 'x'"),
        (["nowhere.yaml"], "'nowhere.yaml' cannot be read"),
        ([], "RAW_DIR is missing"),
    ],
)
def test_a_bad_command_line_is_named(argv, message):
    with pytest.raises(UserError) as caught:
        parse(PrepareArguments, argv=argv)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "name", "words"),
    [
        (TrainArguments, "output_dir", []),
        (TrainArguments, "dataset", []),
        (EvaluateArguments, "dataset", ["model"]),
        (PrepareArguments, "output_dir", ["songs"]),
    ],
)
def test_a_folder_whose_name_libraries_cannot_take_is_refused(settings, name, words):
    path = os.fsdecode(b"out_\xe9")
    with pytest.raises(UserError, match=f"--{name} '{path}' is not UTF-8"):
        parse(settings, argv=[*words, f"--{name}", path])
    parse(settings, argv=[*words, f"--{name}", "out_\xe9"])


def test_a_second_config_is_refused_as_one(tmp_path):
    path = config(tmp_path, "seed: 1\n")
    with pytest.raises(UserError, match=r"'b\.yaml' is a second config after '.*settings\.yaml'"):
        parse(PrepareArguments, argv=[path, "songs", "b.yaml"])


def test_a_home_is_found_where_the_shell_left_it(tmp_path, monkeypatch):
    """As in a config, in quotes, or after `--flag=`: else there would be a folder named `~`."""
    monkeypatch.setenv("HOME", "/home/mine")
    path = config(tmp_path, "raw_dir: ~/songs\n")
    settings = parse(PrepareArguments, argv=[path, "--output_dir=~/data"])
    assert (settings.raw_dir, settings.output_dir) == ("/home/mine/songs", "/home/mine/data")
    songs = parse(PredictArguments, argv=["model", "~/a.mp3", "./~/b.mp3", "~c.mp3"]).songs
    assert songs == ["/home/mine/a.mp3", "./~/b.mp3", "~c.mp3"]


def test_a_word_that_ends_a_flag_is_told_the_flag():
    for word, flag in (("batch_size", "per_device_train_batch_size"), ("epochs", "num_train_epo")):
        with pytest.raises(UserError, match=f"did you mean --{flag}"):
            parse(TrainArguments, argv=[f"--{word}", "2"])


def test_all_faults_of_the_values_come_at_once():
    with pytest.raises(UserError) as caught:
        parse(PrepareArguments, argv=["songs", "--clip_seconds", "0", "--val_fraction", "2"])
    assert "--clip_seconds is 0" in str(caught.value)
    assert "--val_fraction is 2" in str(caught.value)


def test_a_start_on_the_command_line_wins_over_a_configs_random_weights(tmp_path):
    """`train_hf.py configs/demo.yaml --model_name_or_path models/mine`."""
    path = config(tmp_path, "from_scratch: tiny\noutput_dir: out\n")
    assert parse(TrainArguments, argv=[path]).from_scratch == "tiny"
    for flags in (["--model_name_or_path", "mine"], ["--model-name-or-path=mine"]):
        settings = parse(TrainArguments, argv=[path, *flags])
        assert (settings.from_scratch, settings.model_name_or_path) == (None, "mine")
        with pytest.raises(UserError, match="--from_scratch exclude each other"):
            parse(TrainArguments, argv=[path, *flags, "--from-scratch", "base"])


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        ({}, {}),
        ({"logging_strategy": "epoch", "logging_steps": 0}, {"logging_strategy": "epoch"}),
        (
            {"tf32": False, "debug": "underflow_overflow"},
            {"tf32": False, "debug": ["underflow_overflow"]},
        ),
    ],
)
def test_of_the_trainers_own_settings_those_given_are_recorded(settings, theirs, tmp_path):
    """Whatever the others: `logging_steps` 0 is refused of all but epochs."""
    args = TrainArguments(output_dir=str(tmp_path), eval_strategy="epoch", **settings)
    found, ours = own_settings(args), TrainArguments.__annotations__
    assert {name: value for name, value in found.items() if name not in ours} == theirs
    assert set(ours) <= set(found) and found["eval_strategy"] == "epoch"


@pytest.mark.parametrize("first", [True, False])
def test_no_process_says_more_than_the_first(first, tmp_path, monkeypatch):
    """The Trainer takes this for how much the libraries say: a replica had them warn."""
    monkeypatch.setattr(TrainArguments, "should_log", first)
    before = transformers_logging.get_verbosity()
    try:
        transformers_logging.set_verbosity_error()
        args = TrainArguments(output_dir=str(tmp_path))
        assert args.get_process_log_level() == logging.ERROR
        louder = TrainArguments(output_dir=str(tmp_path), log_level_replica="info")
        assert louder.get_process_log_level() == (logging.ERROR if first else logging.INFO)
    finally:
        transformers_logging.set_verbosity(before)


TRAINING_CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", TRAINING_CONFIGS, ids=lambda path: path.stem)
def test_every_training_config_is_taken(path):
    settings = parse(TrainArguments, argv=[str(path)])
    for key, value in yaml.safe_load(path.read_text()).items():
        taken = getattr(settings, key)
        taken = getattr(taken, "value", taken)
        assert value is None or taken == value, key


@pytest.mark.parametrize(
    ("config", "settings", "left_out"),
    [("base", TrainArguments, UNLISTED), ("prepare/base", PrepareArguments, ("raw_dir",))],
)
def test_base_yaml_writes_out_the_defaults(config, settings, left_out):
    """Every setting of this project, with the value it has without any config, in their order."""
    written = yaml.safe_load((ROOT / f"configs/{config}.yaml").read_text())
    fields = settings.__dataclass_fields__
    own = [fields[name] for name in settings.__annotations__ if name not in left_out]
    defaults = {
        item.name: item.default_factory() if callable(item.default_factory) else item.default
        for item in own
    }
    assert written == defaults
    assert list(written) == list(defaults)


def test_help_shows_what_can_be_set_grouped_with_defaults_as_they_are_typed(capsys):
    with pytest.raises(SystemExit):
        parse(TrainArguments, argv=["--help"])
    shown = capsys.readouterr().out
    flags = re.findall(r"^  --(\w+)", shown, re.MULTILINE)
    settable = {item.name for item in dataclasses.fields(TrainArguments)} - {*UNLISTED}
    assert set(flags) == {"help", *settable} and len(flags) == len(set(flags))
    own = [name for name in TrainArguments.__annotations__ if name not in UNLISTED]
    assert flags[1 : len(own) + 1] == own
    shown = " ".join(shown.split())
    assert "--report_to text … loggers: tensorboard, trackio, wandb or none (default: tens" in shown
    assert "--time_roll true|false roll each clip by a random time (default: true)" in shown


def test_what_help_leaves_out_exists():
    assert {item.name for item in dataclasses.fields(TrainArguments)} >= {*UNLISTED}
