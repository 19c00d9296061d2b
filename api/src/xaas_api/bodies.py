"""Reading JSON bodies, strictly.

A body is read as it arrives and refused as soon as it is too large, before anything is parsed. It
must be UTF-8 and JSON as RFC 8259 has it: no NaN or Infinity, no number that overflows, and no key
twice in one object, since two readers may take different ones of them.

Whatever is sent, reading it is bounded: lists stop at their first wrong entry (`fail_fast` in the
models), and what is far too large is refused before the model sees it, which would note every
single thing that is wrong.
"""

import json
import math
from typing import Any, Final, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from xaas_api import errors
from xaas_api.answers import encode
from xaas_core.admission import Problem, Refused, too_large

MAX_BODY: Final = 4 * 1024 * 1024
"""Bytes of a request's body."""

MAX_DIGITS: Final = 10_000
"""Digits of an integer that is read: far more than any is allowed, few enough to be read fast."""

M = TypeVar("M", bound=BaseModel)


async def read(request: Request, model: type[M], most: int = MAX_BODY) -> M:
    """The body as `model`. Raises ApiError: 413, 415, or 422 naming the places that are wrong.

    `most`: bytes that it may have as compact JSON. Raises Refused if it has more.
    """
    body = await _receive(request)
    value = _parse(body)
    if len(body) > most and (size := len(encode(value))) > most:
        raise Refused([too_large(size)])
    _check_fields(value, model)
    try:
        return model.model_validate_json(body, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise errors.invalid(errors.problems_of(error)) from None


async def _receive(request: Request) -> bytes:
    _check_headers(request)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise _too_large()
    return bytes(body)


def _check_headers(request: Request) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise _too_large()
    kind, *settings = map(str.strip, request.headers.get("content-type", "").lower().split(";"))
    charset = next((each[8:].strip('"') for each in settings if each.startswith("charset=")), "")
    if kind != "application/json" and not (
        kind.startswith("application/") and kind.endswith("+json")
    ):
        shown = repr(kind) if kind else "missing"
        text = f"Content-Type is {shown}; send the body as application/json"
        raise errors.ApiError(errors.ProblemType.UNSUPPORTED_MEDIA_TYPE, text)
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        text = f"JSON is UTF-8; the charset {charset!r} isn't read"
        raise errors.ApiError(errors.ProblemType.UNSUPPORTED_MEDIA_TYPE, text)


def _too_large() -> errors.ApiError:
    text = f"a body has at most {MAX_BODY} bytes"
    return errors.ApiError(errors.ProblemType.BODY_TOO_LARGE, text)


def _check_fields(value: Any, model: type[BaseModel]) -> None:
    """Refuse an object with more unknown fields than are listed."""
    if isinstance(value, dict):
        known = {field.alias or name for name, field in model.model_fields.items()}
        unknown = [name for name in value if name not in known]
        if len(unknown) > errors.MAX_PROBLEMS:
            listed = unknown[: errors.MAX_PROBLEMS]
            raise errors.invalid([Problem(name, errors.UNKNOWN_FIELD) for name in listed])


def _parse(body: bytes) -> Any:
    """The body, without what a lenient parser would let pass."""
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_short,
        )
    except RecursionError:
        raise _not_json("it is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise _not_json(f"byte {error.start} isn't UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _not_json(f"{error.msg} ({where})", error.lineno) from None
    except ValueError as error:
        raise _not_json(str(error)) from None


def _not_json(message: str, line: int | None = None) -> errors.ApiError:
    problem = Problem("body", message, line)
    return errors.ApiError(errors.ProblemType.INVALID_JSON, f"body: {message}", errors=[problem])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:80]!r} occurs twice in one object")
            seen.add(key)
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} isn't JSON")


def _short(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"the integer {text[:40]}… has {len(text)} digits; write it as a string")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value
