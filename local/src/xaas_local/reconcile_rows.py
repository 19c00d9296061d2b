"""What the reconciler and the gateway write, as rows: the statements, each within a transaction of
its caller's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from xaas_core import plan_text
from xaas_core.engine.facts import Key
from xaas_core.engine.history import Change
from xaas_core.engine.states import OVER
from xaas_core.models.objects import Run, RunStatus
from xaas_core.ports import Conflict, NotFound, Writes
from xaas_local.run_rows import RECORD, STATUS, find, has_record, update_run
from xaas_local.schema import CHANGES, PLANS, RECORDS, AnyRow

_LAST_SEQUENCE: Final = select(func.max(CHANGES.c.sequence)).where(
    CHANGES.c.run_id == bindparam("run_id_")
)
_REPLACE_RECORD: Final = (
    update(RECORDS)
    .where(
        RECORDS.c.run_id == bindparam("run_id_"),
        RECORDS.c.ref == bindparam("ref_"),
        RECORDS.c.side == bindparam("side_"),
        RECORDS.c.version == bindparam("version_"),
    )
    .values(version=RECORDS.c.version + 1)
)
_INSERT_RECORD: Final = insert_or(RECORDS).on_conflict_do_nothing()
_INSERT_PLAN: Final = insert_or(PLANS).on_conflict_do_nothing()
_INSERT_CHANGES: Final = insert(CHANGES)


@dataclass(frozen=True)
class EncodedWrites:
    """`Writes` as text: encoding is done before the transaction begins."""

    uid: str
    version: str
    plan: str | None
    records: Sequence[tuple[Key, str, str | None]]
    status: Mapping[str, Any] | None
    changes: Sequence[Mapping[str, Any]]

    def size(self) -> int:
        """Characters of text, but for the changes."""
        status = self.status["status"] if self.status is not None else ""
        texts = (self.plan or "", status, *(text for _, text, _ in self.records))
        return sum(map(len, texts))


def encode_writes(writes: Writes) -> EncodedWrites:
    """The text of one reconcile's writes."""
    run = writes.run
    return EncodedWrites(
        uid=run.meta.uid,
        version=run.meta.resource_version,
        plan=None if writes.plan is None else plan_text.encode(writes.plan),
        records=[
            ((record.ref, record.side), RECORD.encode(record), version)
            for record, version in writes.records
        ],
        status=None if writes.status is None else _status_columns(run, writes.status),
        changes=[_change_columns(change) for change in writes.changes],
    )


def _status_columns(run: Run, status: RunStatus) -> dict[str, Any]:
    state = status.summary.state
    answered = status.reply.id if status.reply is not None else None
    waits = run.request is not None and run.request.id != answered
    expires = run.spec.ttl_after_finished is not None
    live = state not in OVER or run.meta.deleting or expires or waits
    return {"state": state.value, "live": live, "status": STATUS.encode(status)}


def _change_columns(change: Change) -> dict[str, Any]:
    return {
        "state": change.state.value,
        "at": change.at,
        "ref": change.ref,
        "side": None if change.side is None else change.side.value,
        "attempt": change.attempt,
        "launch": change.launch,
        "reason": change.reason.value,
        "message": change.message,
    }


def commit(connection: Connection, writes: EncodedWrites) -> None:
    """Raises NotFound, Conflict."""
    row = find(connection, writes.uid)
    if writes.version != str(row.version):
        raise Conflict(f"run {writes.uid} is in version {row.version}, not {writes.version}")
    if writes.plan is not None:
        made = connection.execute(_INSERT_PLAN, {"run_id": row.id, "plan": writes.plan})
        if not made.rowcount:
            raise Conflict(f"run {writes.uid} has its plan already")
    for key, text, version in writes.records:
        _write_record(connection, row, key, text, version)
    if writes.changes:
        last = connection.execute(_LAST_SEQUENCE, {"run_id_": row.id}).scalar_one() or 0
        numbered = enumerate(writes.changes, last + 1)
        rows = [dict(change) | {"run_id": row.id, "sequence": n} for n, change in numbered]
        connection.execute(_INSERT_CHANGES, rows)
    if writes.status is not None:
        update_run(connection, row, **writes.status)


def save_record(connection: Connection, uid: str, key: Key, text: str, version: str) -> None:
    """Raises NotFound, Conflict."""
    row = find(connection, uid)
    try:
        _write_record(connection, row, key, text, version)
    except Conflict:
        if not has_record(connection, row.id, key):
            raise NotFound(f"run {uid} has no record of {key[0]!r}/{key[1]}") from None
        raise


def _write_record(
    connection: Connection, run: AnyRow, key: Key, text: str, version: str | None
) -> None:
    ref, side = key
    if version is None:
        new = {"run_id": run.id, "ref": ref, "side": side.value, "version": 1, "record": text}
        done = connection.execute(_INSERT_RECORD, new)
    elif version.isascii() and version.isdigit():
        where = {"run_id_": run.id, "ref_": ref, "side_": side.value, "version_": int(version)}
        done = connection.execute(_REPLACE_RECORD, where | {"record": text})
    else:
        done = None
    if done is None or not done.rowcount:
        raise Conflict(f"the record of {ref!r}/{side} in run {run.uid} isn't as it was read")
