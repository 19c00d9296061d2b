"""Times on Kubernetes objects."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from xaas_core.notices import rfc3339

_PRECISE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def shown(at: int | None) -> str | None:
    """RFC 3339 with milliseconds; None for None."""
    return None if at is None else rfc3339(at)


def read(text: str | None) -> int | None:
    """Milliseconds since 1970; None for None. Raises ValueError."""
    if text is None:
        return None
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


def precise(at: int, serial: int) -> str:
    """A time that sorts: `at` in milliseconds, with `serial` (below a million) behind them."""
    return f"{rfc3339(at)[:-1]}{serial:06d}Z"


def is_precise(text: str) -> bool:
    """Whether `precise` could have written it."""
    if _PRECISE.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text[:19])
    except ValueError:
        return False
    return True


def sortable(text: str) -> str:
    """Any RFC 3339 time in UTC with nine digits of a second's fraction, to be sorted as text."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return f"{whole}.{fraction[:9]:0<9}Z"
