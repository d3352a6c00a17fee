"""A small file of a model or dataset, in its folder or on the Hub; and why the Hub gives none."""

from pathlib import Path

from genreast.errors import UserError, one_line


def file_of(name: str, file: str, kind: str = "model") -> Path | None:
    """A file of a folder here, or of a repository on the Hub of this kind: model or dataset. None
    where it has none.

    Raises UserError where the Hub does not say whether it has one, nor has told an earlier run.
    """
    if Path(name).is_dir():
        path = Path(name) / file
        return path if path.is_file() else None
    import httpx2
    from huggingface_hub import (
        _CACHED_NO_EXIST,
        constants,
        errors,
        hf_hub_download,
        try_to_load_from_cache,
    )

    try:
        return Path(hf_hub_download(name, file, repo_type=kind))
    except errors.RemoteEntryNotFoundError:
        return None
    except errors.LocalEntryNotFoundError as error:
        if try_to_load_from_cache(name, file, repo_type=kind) is _CACHED_NO_EXIST:
            return None
        off = "is off (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else "cannot be reached"
        words = ["hf download", name, file, *(["--repo-type dataset"] if kind == "dataset" else [])]
        raise UserError(
            f"whether {kind} '{name}' has a {file} is not known, for the Hub {off}: ask once when"
            f" it answers, with `{' '.join(words)}` (that there is none is remembered too)"
        ) from error
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise UserError(
            f"the {file} of {kind} '{name}' cannot be had: {one_line(error)}"
        ) from error
