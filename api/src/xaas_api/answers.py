"""Writing JSON answers."""

import json
from typing import Any

from starlette.responses import Response


def encode(content: Any) -> bytes:
    """Compact JSON in UTF-8."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A script's params may hold half of a surrogate pair, which only an escape can say.
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def answer(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(encode(content), status, headers, "application/json")
