"""What the documents show can be typed as it stands, and what they name is there."""

import re
import shlex
import tomllib

import pytest
from accelerate.commands.launch import launch_command_parser
from conftest import ROOT

from genreast.arguments import EvaluateArguments, PredictArguments, PrepareArguments, PushArguments
from genreast.config import parse
from genreast.training.recipe import TrainArguments

SETTINGS = {
    "prepare_dataset.py": PrepareArguments,
    "train_hf.py": TrainArguments,
    "evaluate_model.py": EvaluateArguments,
    "predict_song.py": PredictArguments,
    "push_to_hub.py": PushArguments,
}
DOCS = ("collections", "measured", "scaling", "studies")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(f"docs/{name}.md" for name in DOCS))
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}
USAGES = {name: (ROOT / name).read_text(encoding="utf-8").split('"""')[1] for name in SETTINGS}


def commands(text: str) -> list[list[str]]:
    """The lines of a text that run one of the scripts, from the script's name on, as words."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    lines = [line.strip() for line in lines if re.match(r"\s*(python|accelerate launch) ", line)]
    lines = [shlex.split(line.partition(" > ")[0], comments=True) for line in lines]
    starts = [[at for at, word in enumerate(words) if word in SETTINGS] for words in lines]
    return [words[at[0] :] for words, at in zip(lines, starts, strict=True) if at]


@pytest.mark.parametrize("name", ["README.md", "docs/scaling.md", *USAGES])
def test_every_command_that_is_shown_is_taken(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    shown = commands((PAGES | USAGES)[name])
    assert shown
    for script, *words in shown:
        parse(SETTINGS[script], argv=words)


@pytest.mark.parametrize("name", PAGES)
def test_every_flag_that_is_named_exists(name):
    known = {*launch_command_parser()._option_string_actions}
    for settings in SETTINGS.values():
        known |= {f"--{field}" for field in settings.__dataclass_fields__}
    named = re.findall(r"[`(](--\w+)", PAGES[name])
    assert not [flag for flag in named if flag not in known]


def test_what_is_optional_has_the_version_that_the_tests_run_with():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tested = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").split()
    assert {pin for pins in project["optional-dependencies"].values() for pin in pins} <= {*tested}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[name]):
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.is_file(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            plain = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in plain, link
