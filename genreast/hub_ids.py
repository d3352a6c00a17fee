"""What is a name on the Hub, and when a name is looked for there."""

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


def could_be_on_the_hub(name: Any) -> bool:
    """Whether a name that is nothing here is worth asking the Hub for, which is slow to say no.

    What is inside a folder of this machine is a path, whether it is there or not.
    """
    return is_hub_id(name) and not Path(name).parent.is_dir()


def not_asked(name: str) -> str:
    """Why the Hub was not asked for a name that it could have; empty where it could not."""
    folder = Path(name).parent
    if not (is_hub_id(name) and folder.is_dir()):
        return ""
    return f" (the Hub was not asked: '{folder}' is a folder here)"
