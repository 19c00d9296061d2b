"""Pages of lists: newest first, by keyset, so that a page isn't shifted by what comes and goes."""

import re
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, tuple_

from xaas_core.ports import Query
from xaas_local.schema import AnyRow

_TOKEN: Final = re.compile(r"([a-z]+)-(-?[0-9]{1,18})-([0-9]{1,18})")


def page(
    connection: Connection, chosen: Select[Any], table: Table, query: Query
) -> tuple[Sequence[AnyRow], str | None]:
    """The rows of `chosen` that `query` asks for, and the token of the next page.

    `table` has `created_at` and `id`. Raises ValueError for a token that isn't one of this list.
    """
    columns = table.c
    if query.created_before is not None:
        chosen = chosen.where(columns.created_at < query.created_before)
    if query.created_after is not None:
        chosen = chosen.where(columns.created_at > query.created_after)
    if query.after is not None:
        chosen = chosen.where(tuple_(columns.created_at, columns.id) < _position(query, table))
    limit = max(1, query.limit)
    ordered = chosen.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit + 1)
    rows = connection.execute(ordered).all()
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], f"{table.name}-{last.created_at}-{last.id}"


def _position(query: Query, table: Table) -> tuple[int, int]:
    token = _TOKEN.fullmatch(query.after or "")
    if token is None or token[1] != table.name:
        raise ValueError(f"{query.after!r} is no `continue` of this list; leave it out to begin")
    return int(token[2]), int(token[3])
