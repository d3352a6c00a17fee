"""Why the Hub gives no model or dataset, in words."""

import os
from pathlib import Path

from genreast.errors import DISK_FULL, one_line


def hub_words(error: BaseException, kind: str = "model") -> str:
    """Why the files of a model or dataset could not be had, from the chain of exceptions."""
    from huggingface_hub import errors

    chain = _chain(error)
    if refusal := refusal_of_home(error):
        return f"cannot be loaded: {refusal}"
    if any("Invalid credentials" in str(each) for each in chain):
        return "is kept back, for the token is not accepted: `hf auth login`, or renew HF_TOKEN"
    if any("[Errno 2]" in str(each) for each in chain) and (lost := lost_certificates()):
        return f"is not a folder here, and the Hub cannot be asked: {lost}"
    told = {  # `datasets` drops the Hub client's exceptions and says in words what they were
        "is a gated dataset": errors.GatedRepoError,
        "doesn't exist on the Hub": errors.RepositoryNotFoundError,
        "Couldn't reach": errors.LocalEntryNotFoundError,
        "Revision '": errors.RevisionNotFoundError,
    }
    found = [*map(type, chain), *(each for words, each in told.items() if words in str(error))]
    private = "if it is private, `hf auth login`"
    causes = [
        (errors.GatedRepoError, "is gated: ask for access on its page, then `hf auth login`"),
        (
            errors.RepositoryNotFoundError,
            f"is neither a folder here nor a {kind} on the Hub you see ({private})",
        ),
        (
            errors.RevisionNotFoundError,
            "has no such revision: after @ name a branch, a tag or a commit of it",
        ),
        (errors.HFValidationError, "is neither a folder here nor a Hub id (USER/NAME)"),
        (
            (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError),
            f"is not a folder here, and {no_answer()}",
        ),
    ]
    if kind == "model":
        words = "has no config.json on the Hub: it is no transformers model"
        causes.append((errors.EntryNotFoundError, words))
    for cause, words in causes:
        if any(issubclass(each, cause) for each in found):
            return words
    return f"cannot be loaded: {one_line(error)}"


def no_answer() -> str:
    """Why the Hub said nothing."""
    from huggingface_hub import constants

    off = "is off (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else "cannot be reached"
    return f"the Hub {off}"


def lost_certificates() -> str | None:
    """Why no connection can be made where a variable leads to no certificates: what is raised then
    names no file.
    """
    path = os.environ.get("SSL_CERT_FILE")
    if not path or os.path.isfile(path):
        return None
    return f"SSL_CERT_FILE is '{path}', which is no file: name one of certificates, or unset it"


def refusal_of_home(error: BaseException) -> str | None:
    """What the system says of the folder that the Hub's client works in, where an error came of it;
    that of a full disk names no file.
    """
    from huggingface_hub import constants

    variable = "HF_HUB_CACHE" if "HF_HUB_CACHE" in os.environ else "HF_HOME"
    for each in _chain(error):
        if not isinstance(each, OSError):
            continue
        full = each.errno in DISK_FULL
        path = each.filename or (constants.HF_HUB_CACHE if full else "")
        if any(map(Path(str(path)).is_relative_to, (constants.HF_HOME, constants.HF_HUB_CACHE))):
            remedy = "make room" if full else "see who may read and write there"
            return (
                f"'{path}', where the Hub's client keeps what it reads, cannot be used"
                f" ({each.strerror}): {remedy}, or name another folder in the environment variable"
                f" {variable}"
            )
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """An error, and those that it came of."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    return chain
