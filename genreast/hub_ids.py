"""What is a name on the Hub, and when a name is looked for there.

A model or dataset on the Hub is USER/NAME, or USER/NAME@REVISION: a branch, a tag or a commit.
"""

from pathlib import Path
from typing import Any


def is_hub_id(name: Any) -> bool:
    """Whether a name is USER/NAME as the Hub's own client takes it."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name is not None and "/" in name


def split_revision(name: str | Path) -> tuple[str, str | None]:
    """The repository and the revision of a name, as the Hub's client takes the two; the revision is
    None where the name has no @.

    A name that is there on this machine is a path, even with an @ in it.
    """
    repo_id, at, revision = str(name).partition("@")
    return (repo_id, revision) if at and not Path(name).exists() else (str(name), None)


def could_be_on_the_hub(name: Any) -> bool:
    """Whether the Hub is worth asking for a name that is not on this machine: it is slow to say no.

    A name inside a folder of this machine is a path, whether or not anything is there.
    """
    repo_id, revision = split_revision(name)
    return is_hub_id(repo_id) and revision != "" and not Path(repo_id).parent.is_dir()


def not_asked(name: str) -> str:
    """Why the Hub was not asked for a name that it could have; empty where it could not."""
    repo_id, _ = split_revision(name)
    folder = Path(repo_id).parent
    if not (is_hub_id(repo_id) and folder.is_dir()):
        return ""
    return f" (the Hub was not asked: '{folder}' is a folder here)"
