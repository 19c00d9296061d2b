"""Names in paths: any spelling, with `/` as `%2F`.

ASGI servers decode a path before it is routed, so that `a%2Fb` looks like two segments. `RawPaths`
routes by the path as it was sent instead: `scope["path"]` keeps each segment's `%` and `/` encoded,
and the convertor `segment` of a route decodes them.
"""

from typing import Final
from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

NOWHERE: Final = "/%"
"""A path that no route has: `%` never stands alone in what `RawPaths` makes."""


class RawPaths:
    """Routes by `raw_path`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        raw = scope.get("raw_path")
        if raw is not None:
            scope["path"] = routed(raw)
        await self._app(scope, receive, send)


def routed(raw: bytes) -> str:
    """The path to route by; `NOWHERE` for what isn't UTF-8 or holds a control character."""
    try:
        segments = [unquote(segment, errors="strict") for segment in raw.decode("ascii").split("/")]
    except UnicodeDecodeError:
        return NOWHERE
    if any(ord(char) < 32 or ord(char) == 127 for segment in segments for char in segment):
        return NOWHERE
    return "/".join(segment.replace("%", "%25").replace("/", "%2F") for segment in segments)


def in_path(name: str) -> str:
    """A name as one segment of a path."""
    return quote(name, safe="")


class _Segment(Convertor[str]):
    """One segment of a path, decoded."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return in_path(value)


register_url_convertor("segment", _Segment())
