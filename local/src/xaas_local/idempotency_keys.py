"""Idempotency keys: the same key and body give the same object for a day, another body is refused.

A key outlives its object: a client that repeats its POST after the run was removed must not start
a second one.
"""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select

from xaas_core.ports import Idempotency, KeyReused
from xaas_local.schema import KEYS

KEPT: Final = 24 * 3_600_000
"""Milliseconds that a key is known: longer than any client goes on repeating a POST."""

_FIND: Final = select(KEYS.c.uid, KEYS.c.digest).where(
    KEYS.c.namespace == bindparam("namespace"),
    KEYS.c.kind == bindparam("kind"),
    KEYS.c.key == bindparam("key"),
)


def claim(connection: Connection, idempotency: Idempotency, made: Mapping[str, Any]) -> str | None:
    """Note that `made` (its namespace, kind, uid and created_at) is made with this key.

    Returns the uid of what was made with it before, if so. Raises KeyReused.
    """
    connection.execute(delete(KEYS).where(KEYS.c.created_at <= made["created_at"] - KEPT))
    known = recall(connection, idempotency, made["namespace"], made["kind"])
    if known is None:
        row = {"namespace": made["namespace"], "kind": made["kind"], "key": idempotency.key}
        row |= {"digest": idempotency.digest, "uid": made["uid"], "created_at": made["created_at"]}
        connection.execute(insert(KEYS), row)
    return known


def recall(
    connection: Connection, idempotency: Idempotency, namespace: str, kind: str
) -> str | None:
    """The uid of what was made with this key; None if it is new. Raises KeyReused."""
    where = {"namespace": namespace, "kind": kind, "key": idempotency.key}
    known = connection.execute(_FIND, where).one_or_none()
    if known is None:
        return None
    if known.digest != idempotency.digest:
        raise KeyReused(
            f"the Idempotency-Key {idempotency.key!r} was used with another body: take a new one"
        )
    return str(known.uid)


def removed(idempotency: Idempotency) -> KeyReused:
    """What is told when the object made with a known key is gone."""
    return KeyReused(
        f"what was made with the Idempotency-Key {idempotency.key!r} has been removed: "
        "take a new key to make another"
    )
