"""Errors as clients see them: problem details (RFC 9457) with stable types.

Routes raise `ApiError`, or let what the store, the admission or an operation raises pass through:
`as_api_error` knows which problem each is. Whatever else is raised is a defect: a 500 without
details, and a traceback in the server's log.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

from pydantic import ValidationError
from starlette.responses import Response

from xaas_api.answers import encode
from xaas_core.admission import Problem, Refused
from xaas_core.operations import NotAllowed, Undecided
from xaas_core.ports import (
    AlreadyExists,
    Conflict,
    KeyReused,
    LogGone,
    NotFound,
    NotOver,
    TooLarge,
    Unavailable,
)

MEDIA_TYPE: Final = "application/problem+json"
URN: Final = "urn:xaas:problem:"

MAX_PROBLEMS: Final = 50
"""Problems listed in one answer: enough to mend, not enough to be a burden."""

UNKNOWN_FIELD: Final = "unknown field"


class ProblemType(StrEnum):
    """Kinds of errors; `urn:xaas:problem:<value>` never changes its meaning."""

    INVALID_JSON = "invalid-json"  # the body isn't JSON, strictly read
    INVALID_REQUEST = "invalid-request"  # a body, query or header that the schema refuses
    REFUSED = "refused"  # a definition or run that can't be accepted
    UNAUTHORIZED = "unauthorized"  # no token, or not the right one
    FORBIDDEN = "forbidden"  # from a web page elsewhere, or the cluster's RBAC doesn't allow it
    NOT_FOUND = "not-found"  # no such object or path
    METHOD_NOT_ALLOWED = "method-not-allowed"
    ALREADY_EXISTS = "already-exists"  # an object of that name exists
    KEY_REUSED = "idempotency-key-reused"  # the same key came with another body
    OPERATION_NOT_ALLOWED = "operation-not-allowed"  # the run's state doesn't allow it
    RUN_NOT_OVER = "run-not-over"  # only a run that is over can be deleted without force
    LOG_GONE = "log-gone"  # the log isn't kept any more: its pod is gone
    PRECONDITION_FAILED = "precondition-failed"  # If-Match names another version
    BODY_TOO_LARGE = "body-too-large"  # or larger than the backend can keep
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    UNDECIDED = "undecided"  # the operation waits and may yet be decided
    UNAVAILABLE = "unavailable"  # the backend can't be reached; nothing was written
    INTERNAL_ERROR = "internal-error"  # a defect of the product


STATUS: Final[Mapping[ProblemType, int]] = {
    ProblemType.INVALID_JSON: 422,
    ProblemType.INVALID_REQUEST: 422,
    ProblemType.REFUSED: 422,
    ProblemType.UNAUTHORIZED: 401,
    ProblemType.FORBIDDEN: 403,
    ProblemType.NOT_FOUND: 404,
    ProblemType.METHOD_NOT_ALLOWED: 405,
    ProblemType.ALREADY_EXISTS: 409,
    ProblemType.KEY_REUSED: 409,
    ProblemType.OPERATION_NOT_ALLOWED: 409,
    ProblemType.RUN_NOT_OVER: 409,
    ProblemType.LOG_GONE: 410,
    ProblemType.PRECONDITION_FAILED: 412,
    ProblemType.BODY_TOO_LARGE: 413,
    ProblemType.UNSUPPORTED_MEDIA_TYPE: 415,
    ProblemType.UNDECIDED: 503,
    ProblemType.UNAVAILABLE: 503,
    ProblemType.INTERNAL_ERROR: 500,
}

TITLES: Final[Mapping[ProblemType, str]] = {
    ProblemType.INVALID_JSON: "The body isn't valid JSON",
    ProblemType.INVALID_REQUEST: "The request isn't valid",
    ProblemType.REFUSED: "The object can't be accepted",
    ProblemType.UNAUTHORIZED: "A bearer token is needed",
    ProblemType.FORBIDDEN: "The caller may not do this",
    ProblemType.NOT_FOUND: "There is no such object",
    ProblemType.METHOD_NOT_ALLOWED: "The path doesn't have this method",
    ProblemType.ALREADY_EXISTS: "An object of that name exists",
    ProblemType.KEY_REUSED: "The Idempotency-Key belongs to another request",
    ProblemType.OPERATION_NOT_ALLOWED: "The run's state doesn't allow the operation",
    ProblemType.RUN_NOT_OVER: "The run isn't over",
    ProblemType.LOG_GONE: "The log isn't kept any more",
    ProblemType.PRECONDITION_FAILED: "The object has another version",
    ProblemType.BODY_TOO_LARGE: "The body is too large",
    ProblemType.UNSUPPORTED_MEDIA_TYPE: "The body must be JSON",
    ProblemType.UNDECIDED: "The operation isn't decided yet",
    ProblemType.UNAVAILABLE: "The backend can't be reached",
    ProblemType.INTERNAL_ERROR: "Something is wrong in the server",
}


@dataclass
class ApiError(Exception):
    """An error to answer with. `extra` are further members of the problem."""

    type: ProblemType
    detail: str
    errors: Sequence[Problem] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.detail


_PROBLEMS: Final[Mapping[type[Exception], ProblemType]] = {
    NotFound: ProblemType.NOT_FOUND,
    AlreadyExists: ProblemType.ALREADY_EXISTS,
    KeyReused: ProblemType.KEY_REUSED,
    Conflict: ProblemType.PRECONDITION_FAILED,
    NotAllowed: ProblemType.OPERATION_NOT_ALLOWED,
    NotOver: ProblemType.RUN_NOT_OVER,
    LogGone: ProblemType.LOG_GONE,
    TooLarge: ProblemType.BODY_TOO_LARGE,
    Refused: ProblemType.REFUSED,
    Undecided: ProblemType.UNDECIDED,
    Unavailable: ProblemType.UNAVAILABLE,
}

FORESEEN: Final[tuple[type[Exception], ...]] = (ApiError, *_PROBLEMS)
"""What a route may raise instead of answering."""


def as_api_error(error: Exception) -> ApiError:
    """The problem that `error` stands for; INTERNAL_ERROR for what nobody foresaw."""
    if isinstance(error, ApiError):
        return error
    kind = next((kind for cls, kind in _PROBLEMS.items() if isinstance(error, cls)), None)
    if kind is None:
        return ApiError(ProblemType.INTERNAL_ERROR, "the server's log says what happened")
    return ApiError(
        kind,
        _detail(error.problems) if isinstance(error, Refused) else str(error),
        errors=error.problems[:MAX_PROBLEMS] if isinstance(error, Refused) else (),
        headers={"retry-after": "1"} if STATUS[kind] == HTTPStatus.SERVICE_UNAVAILABLE else {},
        extra=_not_allowed(error) if isinstance(error, NotAllowed) else {},
    )


def _not_allowed(error: NotAllowed) -> dict[str, Any]:
    return {"state": error.state, "operations": list(error.allowed)}


def problem_response(error: ApiError) -> Response:
    """The answer for `error`."""
    status = STATUS[error.type]
    content = {
        "type": URN + error.type,
        "title": TITLES[error.type],
        "status": status,
        "detail": error.detail,
        "errors": [
            {"place": problem.place, "message": problem.message, "line": problem.line}
            for problem in error.errors
        ],
        **error.extra,
    }
    return Response(encode(content), status, dict(error.headers), MEDIA_TYPE)


def invalid(problems: Sequence[Problem]) -> ApiError:
    """A request that its schema refuses."""
    return ApiError(ProblemType.INVALID_REQUEST, _detail(problems), errors=problems)


def _detail(problems: Sequence[Problem]) -> str:
    detail = "; ".join(str(problem) for problem in problems[:5])
    return detail if len(problems) <= 5 else f"{detail}; and {len(problems) - 5} more"


def invalid_at(place: str, message: str) -> ApiError:
    """A request that is wrong in one place."""
    return invalid([Problem(place, message)])


def problems_of(error: ValidationError) -> list[Problem]:
    """What pydantic found, with places such as `tasks[0].ref`."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        Problem(place_of(entry["loc"]), message_of(entry["type"], entry["msg"]))
        for entry in found[:MAX_PROBLEMS]
    ]


def place_of(location: Sequence[str | int]) -> str:
    """`("tasks", 0, "ref")` -> `tasks[0].ref`; the whole of it is `body`."""
    place = ""
    for part in location:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place += f".{part}" if place else part
    return place or "body"


def message_of(kind: str, message: str) -> str:
    """A plain sentence for what pydantic says."""
    if kind == "extra_forbidden":
        return UNKNOWN_FIELD
    if kind == "missing":
        return "required, but missing"
    return message.removeprefix("Value error, ")
