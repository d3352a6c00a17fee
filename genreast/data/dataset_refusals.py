"""Why a dataset cannot be opened, in words."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx2
from datasets import get_dataset_config_names
from datasets.config import HF_DATASETS_CACHE
from datasets.exceptions import DatasetGenerationError

from genreast.errors import DISK_FULL, UserError
from genreast.hub_ids import could_be_on_the_hub, not_asked, split_revision
from genreast.hub_refusals import hub_words

NO_SCRIPTS = "Dataset scripts are no longer supported"  # as `datasets` begins to say it
NO_CONFIG = ("Config name is missing", "BuilderConfig")  # likewise
DAMAGED = (ValueError, TypeError, AttributeError)  # what `datasets` raises of a damaged file
FAULTS = (*DAMAGED, OSError, DatasetGenerationError, httpx2.HTTPError)


@contextlib.contextmanager
def dataset_faults(dataset: str | Path) -> Iterator[None]:
    """Turn what goes wrong in opening a dataset into a UserError with the remedy."""
    folder = Path(dataset)
    make = "make one with: python prepare_dataset.py RAW_DIR --output_dir data/processed"
    try:
        if not folder.exists() and not could_be_on_the_hub(str(dataset)):
            asked = not_asked(str(dataset))
            raise UserError(f"'{dataset}' is neither a folder nor a Hub dataset{asked}; {make}")
        yield
    except RuntimeError as error:
        if not str(error).startswith(NO_SCRIPTS):
            raise
        repo_id, _ = split_revision(dataset)
        raise UserError(
            f"'{dataset}' comes with a script, which datasets does not run any more: name a copy of"
            f" it in Parquet, such as '{repo_id}@refs/convert/parquet' where the Hub made one, or"
            f" `hf download {repo_id} --repo-type dataset` and prepare its songs"
        ) from error
    except FAULTS as error:
        if isinstance(error, ValueError) and str(error).startswith(NO_CONFIG):
            repo_id, revision = split_revision(dataset)
            names = ", ".join(get_dataset_config_names(repo_id, revision=revision))
            raise UserError(
                f"'{dataset}' comes in configurations: choose one with --dataset_config: {names}"
            ) from error
        if refusal := _refusal_of_cache(error, folder):
            raise UserError(
                f"'{dataset}' is read through the cache of datasets, '{HF_DATASETS_CACHE}', "
                f"which cannot be written ({refusal}): make room, or name another folder in the "
                "environment variable HF_DATASETS_CACHE"
            ) from error
        if folder.exists() and "[" in str(folder.resolve()):
            raise UserError(
                f"'{folder.resolve()}' has a [ in its path, which datasets reads as a pattern of "
                "names; rename the folder"
            ) from error
        if folder.exists():
            # Of some errors `datasets` says that one occurred, and no more.
            hidden = error.__cause__ if isinstance(error, DatasetGenerationError) else None
            cause = (str(hidden or error).strip() or type(error).__name__).splitlines()[0]
            raise UserError(f"'{dataset}' is not a dataset ({cause}); {make}") from error
        words = hub_words(error, "dataset")
        remedy = f"; {make}" if "a folder here" in words else ""
        raise UserError(f"dataset '{dataset}' {words}{remedy}") from error


def _refusal_of_cache(error: BaseException | None, folder: Path) -> str | None:
    """What the system says where an error came of a full disk, or of a file outside `folder`."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            place = Path(error.filename).resolve() if error.filename else folder.resolve()
            if error.errno in DISK_FULL or not place.is_relative_to(folder.resolve()):
                return error.strerror
        error = error.__cause__
    return None
