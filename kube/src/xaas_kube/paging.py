"""Pages of lists that are kept in memory, newest first."""

import re
from collections.abc import Iterable
from typing import Final, TypeVar

from xaas_core.ports import Page, Query

T = TypeVar("T")

_TOKEN: Final = re.compile(r"([0-9T:.-]{29}Z)~([0-9a-f-]{36})")


def page(found: Iterable[tuple[str, str, T]], query: Query) -> Page[T]:
    """A page of `found`: triples of creation time (as `definition_objects.created`), uid, and item.

    The next page begins after the last item's time and uid, wherever others come and go. Raises
    ValueError for an `after` that is none of ours.
    """
    bound = None
    if query.after is not None:
        token = _TOKEN.fullmatch(query.after)
        if token is None:
            raise ValueError(f"{query.after!r} is no token of this list")
        bound = token.groups()
    newest = sorted(found, key=lambda each: each[:2], reverse=True)
    rest = [each for each in newest if bound is None or each[:2] < bound]
    shown = rest[: query.limit]
    more = len(rest) > len(shown)
    after = f"{shown[-1][0]}~{shown[-1][1]}" if more and shown else None
    return Page([item for _, _, item in shown], after)


def created_within(created_at: int, query: Query) -> bool:
    """Whether a time of creation (milliseconds since 1970) is within the query's bounds."""
    before, after = query.created_before, query.created_after
    return (before is None or created_at < before) and (after is None or created_at > after)
