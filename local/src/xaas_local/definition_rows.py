"""Definitions as rows: the statements, each within a transaction of its caller's."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select, update

from xaas_core.models.objects import Definition, DefinitionSpec, Meta
from xaas_core.ports import (
    SPECS,
    AlreadyExists,
    Conflict,
    Idempotency,
    Kind,
    NotFound,
    Page,
    Query,
)
from xaas_local.idempotency_keys import claim, removed
from xaas_local.paging import page
from xaas_local.schema import DEFINITION_VERSION, DEFINITIONS, META, AnyRow


def new_row(kind: Kind, namespace: str, spec: DefinitionSpec, uid: str, now: int) -> dict[str, Any]:
    """The row of a new definition, but for its version."""
    return {
        "uid": uid,
        "namespace": namespace,
        "kind": kind.value,
        "name": spec.name,
        "category": spec.category,
        "created_at": now,
        "spec": _encode(spec),
    }


def create(
    connection: Connection, row: Mapping[str, Any], idempotency: Idempotency | None
) -> Definition[DefinitionSpec]:
    """Raises AlreadyExists, KeyReused."""
    if idempotency is not None:
        known = claim(connection, idempotency, row)
        if known is not None:
            found = connection.execute(
                select(DEFINITIONS).where(DEFINITIONS.c.uid == known)
            ).one_or_none()
            if found is None:
                raise removed(idempotency)
            return _definition(found)
    kind, name = Kind(row["kind"]), row["name"]
    if _find(connection, kind, row["namespace"], name) is not None:
        raise AlreadyExists(f"a {kind} named {name!r} exists")
    connection.execute(insert(DEFINITIONS), dict(row) | {"version": _next_version(connection)})
    return get(connection, kind, row["namespace"], name)


def get(
    connection: Connection, kind: Kind, namespace: str, name: str
) -> Definition[DefinitionSpec]:
    """Raises NotFound."""
    row = _find(connection, kind, namespace, name)
    if row is None:
        raise NotFound(f"there is no {kind} named {name!r}")
    return _definition(row)


def listed(
    connection: Connection, kind: Kind, namespace: str, query: Query
) -> Page[Definition[DefinitionSpec]]:
    """Newest first. Raises ValueError for a token that is none."""
    columns = DEFINITIONS.c
    chosen = select(DEFINITIONS).where(columns.namespace == namespace, columns.kind == kind.value)
    if query.category is not None:
        chosen = chosen.where(columns.category == query.category)
    rows, after = page(connection, chosen, DEFINITIONS, query)
    return Page([_definition(row) for row in rows], after)


def replace(
    connection: Connection, row: Mapping[str, Any], if_match: str | None
) -> Definition[DefinitionSpec]:
    """`row` as of `new_row`; the uid and the time of the first writing stay."""
    kind, namespace, name = Kind(row["kind"]), row["namespace"], row["name"]
    found = _matching(connection, kind, (namespace, name), if_match)
    changed = {"spec": row["spec"], "category": row["category"]}
    changed["version"] = _next_version(connection)
    connection.execute(update(DEFINITIONS).where(DEFINITIONS.c.id == found.id), changed)
    return get(connection, kind, namespace, name)


def remove(
    connection: Connection, kind: Kind, namespace: str, name: str, if_match: str | None
) -> None:
    """Raises NotFound, Conflict."""
    found = _matching(connection, kind, (namespace, name), if_match)
    connection.execute(delete(DEFINITIONS).where(DEFINITIONS.c.id == found.id))


def category_of(connection: Connection, kind: Kind, namespace: str, name: str) -> str | None:
    """The category of a definition; None if there is no such definition."""
    row = _find(connection, kind, namespace, name)
    return None if row is None else str(row.category)


def _select(kind: Kind, namespace: str, name: str) -> Select[Any]:
    columns = DEFINITIONS.c
    return select(DEFINITIONS).where(
        columns.namespace == namespace, columns.kind == kind.value, columns.name == name
    )


def _find(connection: Connection, kind: Kind, namespace: str, name: str) -> AnyRow | None:
    return connection.execute(_select(kind, namespace, name)).one_or_none()


def _matching(
    connection: Connection, kind: Kind, key: tuple[str, str], if_match: str | None
) -> AnyRow:
    row = _find(connection, kind, *key)
    if row is None:
        raise NotFound(f"there is no {kind} named {key[1]!r}")
    if if_match is not None and if_match != str(row.version):
        raise Conflict(f"the {kind} {key[1]!r} is in version {row.version}, not {if_match}")
    return row


def _next_version(connection: Connection) -> int:
    row = META.c.name == DEFINITION_VERSION
    connection.execute(update(META).where(row).values(value=META.c.value + 1))
    return int(connection.scalars(select(META.c.value).where(row)).one())


def _encode(spec: DefinitionSpec) -> str:
    return json.dumps(spec.as_written(), separators=(",", ":"))


def _definition(row: AnyRow) -> Definition[DefinitionSpec]:
    meta = Meta(row.uid, row.namespace, str(row.version), row.created_at)
    return Definition(meta, SPECS[Kind(row.kind)].model_validate(json.loads(row.spec)))
