"""What a result was made with: the versions of the libraries, and the commit of this project."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

LIBRARIES = (
    *("torch", "transformers", "datasets", "accelerate", "torchcodec", "huggingface_hub"),
    *("numpy", "scipy", "scikit-learn"),
)


def versions() -> dict[str, str]:
    """The version of Python and of each library that a result may hang on."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    }


def git_commit(file: Path = Path(__file__)) -> str | None:
    """The commit of the checkout that holds a file, `-dirty` where files were changed since.

    None where there is none, also for a file that lies in another project's checkout unknown to it,
    as what is installed there does.
    """
    git = ["git", "-C", str(file.resolve().parent)]
    describe = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]  # no tag
    try:
        known = subprocess.run([*git, "ls-files", file.name], capture_output=True).stdout
        found = subprocess.run(describe, capture_output=True, text=True)
    except OSError:
        return None
    return found.stdout.strip() or None if known else None
