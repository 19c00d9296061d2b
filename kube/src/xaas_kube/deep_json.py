"""JSON that may be nested deeper than Python reads.

The API server takes ten thousand levels, of whatever fields are free-form; Python's reader gives up
after some hundred. Whoever wrote such an object must not end those who only watch it among others.
"""

import json
import re
from typing import Any, Final

DEEPEST: Final = 300
"""Levels that are kept: more than is valid anywhere, so that the models say what is wrong with it."""

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]')
"""A text, the beginning of an object or a list, or its end."""


def loads(text: bytes) -> Any:
    """The value of a JSON text. What lies too deep in it is null. Raises ValueError if it is none."""
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(_pruned(text))


def _pruned(text: bytes) -> bytes:
    kept: list[bytes] = []
    depth = begin = 0
    for token in _TOKEN.finditer(text):
        first = token[0][:1]
        if first in b"[{":
            depth += 1
            if depth == DEEPEST + 1:
                kept += (text[begin : token.start()], b"null")
        elif first in b"]}":
            if depth == DEEPEST + 1:
                begin = token.end()
            depth -= 1
    return b"".join((*kept, text[begin:]))
