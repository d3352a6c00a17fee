"""A small file of a model or dataset, in its folder or on the Hub, and its commit there."""

from pathlib import Path

import httpx2
from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

from genreast.errors import UserError
from genreast.hub_ids import split_revision
from genreast.hub_refusals import hub_words, no_answer


def file_of(name: str, file: str, kind: str = "model") -> Path | None:
    """A file of a folder here, or of a model or dataset (`kind`) on the Hub at its revision; None
    where there is none.

    Raises UserError where the Hub does not say whether it has one, nor has told an earlier run.
    """
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() else None
    repo_id, revision = split_revision(name)
    place = {"repo_id": repo_id, "filename": file, "repo_type": kind, "revision": revision}
    try:
        return Path(hf_hub_download(**place))
    except RemoteEntryNotFoundError:
        return None
    except LocalEntryNotFoundError as error:
        if try_to_load_from_cache(**place) is _CACHED_NO_EXIST:
            return None
        options = " --repo-type dataset" if kind == "dataset" else ""
        options += f" --revision {revision}" if revision else ""
        raise UserError(
            f"whether {kind} '{name}' has a {file} is not known, for {no_answer()}: ask once when"
            f" it answers, with `hf download {repo_id} {file}{options}` (that there is none is"
            " remembered too)"
        ) from error
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise UserError(f"{kind} '{name}' {hub_words(error, kind)}") from error


def commit_of(name: str, file: str) -> str | None:
    """The commit of the Hub model whose file an earlier call has read; None where none has."""
    repo_id, revision = split_revision(name)
    path = try_to_load_from_cache(repo_id, file, revision=revision)
    return Path(path).parent.name if isinstance(path, str) else None  # …/snapshots/<commit>/<file>
