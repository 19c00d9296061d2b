"""What the API server says, in the words of the ports."""

from collections.abc import Iterator
from contextlib import contextmanager

from xaas_core.admission import Problem, Refused
from xaas_core.ports import AlreadyExists, Conflict, NotFound, TooLarge, Unavailable
from xaas_kube.client import ApiError, Unreachable


@contextmanager
def translated(subject: str) -> Iterator[None]:
    """Raise a port's error for an `ApiError`; `subject` names the object for the user.

    What can't be mended by asking again is NotFound, AlreadyExists, Conflict, TooLarge or Refused;
    everything else is Unavailable.
    """
    try:
        yield
    except Unreachable as error:
        raise Unavailable(str(error)) from error
    except ApiError as error:
        raise port_error(error, subject) from error


def port_error(error: ApiError, subject: str) -> Exception:
    """The error of a port that says what `error` says."""
    if error.code == 422 and "metadata.uid: " in error.message:
        return NotFound(f"there is no {subject}")  # meant for one whose name is another's now
    if error.code == 404:
        # Of a namespace that doesn't exist, the server's own words are the better ones.
        named = error.details.get("kind") == "namespaces"
        return NotFound(error.message if named else f"there is no {subject}")
    if error.reason == "AlreadyExists":
        return AlreadyExists(f"there is a {subject} already")
    if error.code == 409:
        return Conflict(f"{subject} was written meanwhile")
    if error.code == 413 or is_too_large(error):
        return TooLarge(f"{subject} is too large for the API server: {error.message}")
    if error.code in (400, 422):
        return Refused([Problem("body", error.message)])
    return Unavailable(f"{subject}: {error}")


def is_too_large(error: ApiError) -> bool:
    """Whether etcd or the API server refused an object for its size: there are several ways."""
    text = error.message.lower()
    return "too large" in text or "request entity" in text or "message larger than max" in text
