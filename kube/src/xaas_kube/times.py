"""Times on Kubernetes objects."""

from datetime import UTC, datetime, timedelta
from typing import Final

from xaas_core.notices import rfc3339

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


def sortable(text: str) -> str:
    """Any RFC 3339 time in UTC with nine digits of a second's fraction, to be sorted as text."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return f"{whole}.{fraction[:9]:0<9}Z"
