"""What goes wrong between here and the Hub: what to try again, and how to say it."""

import tempfile
import time
from collections.abc import Callable
from typing import TypeVar

import httpx2
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import get_token

from genreast.errors import DISK_FULL
from genreast.hub_refusals import lost_certificates

WAITS = (1, 2, 4, 8)  # seconds between the tries of a call that the client does not retry itself
LONGEST_WAIT = 120  # seconds; a Hub that asks for more is reported, not waited for
TRANSIENT = (408, 429, 500, 502, 503, 504)

Result = TypeVar("Result")


def patiently(call: Callable[[], Result]) -> Result:
    """A call's result, tried again after each transient failure (network, 429, 5xx)."""
    for wait in WAITS:
        try:
            return call()
        except (httpx2.HTTPError, OSError, RuntimeError) as error:
            if not is_transient(error):
                raise
            time.sleep(max(wait, retry_after(error)))
    return call()


def root_error(error: Exception) -> Exception:
    """The client wraps what went wrong in an upload or a download: the error at the bottom."""
    while not isinstance(error, httpx2.HTTPError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def is_transient(error: Exception) -> bool:
    """Whether a failure may be over soon: the network's, or an answer such as 429 or 503."""
    error = root_error(error)
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TRANSIENT and retry_after(error) <= LONGEST_WAIT
    refused = (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)
    return isinstance(error, httpx2.TransportError) and not isinstance(error, refused)


def retry_after(error: Exception) -> int:
    """Seconds that the Hub asks to wait, 0 when it does not."""
    response = getattr(root_error(error), "response", None)
    value = response.headers.get("Retry-After", "") if response is not None else ""
    return int(value) if value.isdigit() else 0


def explain(error: Exception, repo: str, endpoint: str) -> str:
    """The cause of a failed call and its remedy, in one line and without the token."""
    error = root_error(error)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        wait = retry_after(error)
        words = (error.server_message or error.response.reason_phrase or "").splitlines()
        remedies = {
            401: "the token is not accepted: sign in again with `hf auth login`, or renew HF_TOKEN",
            403: f"the token may not write to {repo}: give it write permission"
            f" at {endpoint}/settings/tokens",
            404: f"{repo} is not there, or the token may not see it",
            409: "another change is under way: wait a moment",
            412: f"someone else committed to {repo} meanwhile: look at it first",
            429: f"too many requests: wait {wait} s" if wait else "too many requests: wait a while",
        }
        remedy = remedies.get(status, "the Hub is in trouble" if status >= 500 else "")
        text = f"the Hub answered {status}: {remedy or ' '.join(words)}"
        if remedy and words and status not in (401, 429):
            text += f" ({words[0]})"
    elif isinstance(error, httpx2.TransportError):
        text = f"the connection to {endpoint} failed: {type(error).__name__} {error}".rstrip()
    elif isinstance(error, OSError) and error.errno in DISK_FULL:  # nothing else is written here
        text = (
            f"no room is left in '{tempfile.gettempdir()}', where it is read back to: make some, or"
            " set TMPDIR to a folder elsewhere"
        )
    elif isinstance(error, FileNotFoundError) and (lost := lost_certificates()):
        text = lost
    elif isinstance(error, UnicodeEncodeError):
        text = "the token holds letters that no token has: copy it again, or use `hf auth login`"
    else:
        text = str(error).replace("\n", " ")
    token = get_token()
    return text.replace(token, "***") if token else text
