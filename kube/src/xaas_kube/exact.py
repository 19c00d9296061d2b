"""Free-form JSON that the API server would change, kept beside it as text.

The API server sorts keys and makes 1 of 1.0. What a user wrote by REST comes back as it was written:
its text is kept in an annotation, and counts as long as the object still says the same.
"""

import json
from collections.abc import Callable
from typing import Any, Final

MOST: Final = 128 * 1024
"""Characters: all annotations of an object may have 256 KiB together. Beyond that it is left out."""


def text_if_changed(value: Any, stored: Any = None) -> str | None:
    """The text to keep; None if the API server gives `value` back as it is, or it is too long.

    `stored`: what is written in place of `value`, if that is something else.
    """
    if _comes_back(value) and stored in (None, value):
        return None
    text = json.dumps(value, separators=(",", ":"))
    return text if len(text) <= MOST else None


def exactly(stored: Any, text: str | None, storable: Callable[[Any], Any] = lambda v: v) -> Any:
    """`stored` as it was written by the one who left `text`; `storable` is how that was stored."""
    if text is None:
        return stored
    try:
        written = json.loads(text)
        # Else somebody changed the object since then.
        return written if storable(written) == stored else stored
    except (ValueError, RecursionError, TypeError, AttributeError):  # nor did we write this text
        return stored


def _comes_back(value: Any) -> bool:
    if isinstance(value, dict):
        return list(value) == sorted(value) and all(map(_comes_back, value.values()))
    if isinstance(value, list):
        return all(map(_comes_back, value))
    return not (isinstance(value, float) and value.is_integer())
