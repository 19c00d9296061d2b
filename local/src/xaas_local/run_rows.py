"""Runs as rows, what users write of them and what is read: the statements, each within a
transaction of its caller's. What reconciling writes is in `reconcile_rows.py`."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from xaas_core.codec import Codec
from xaas_core.engine.facts import Key, Request
from xaas_core.engine.history import Change
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import Reason, RunState, Side, TaskState
from xaas_core.models.objects import Meta, Run, RunStatus
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_core.operations import check_over
from xaas_core.ports import (
    Conflict,
    Idempotency,
    Kind,
    Logged,
    NotFound,
    OperationPending,
    Query,
)
from xaas_local import idempotency_keys
from xaas_local.definition_rows import category_of
from xaas_local.idempotency_keys import claim, removed
from xaas_local.schema import CHANGES, PLANS, RECORDS, REQUESTS, RUNS, AnyRow

RECORD: Final = Codec(TaskRecord)
REQUEST: Final = Codec(Request)
STATUS: Final = Codec(RunStatus)

_KIND: Final = "PipelineRun"
"""Of runs' idempotency keys."""

# Many times quicker than calling the enum.
_RUN_STATES: Final = {state.value: state for state in RunState}
_TASK_STATES: Final = {state.value: state for state in TaskState}
_SIDES: Final = {side.value: side for side in Side}
_REASONS: Final = {reason.value: reason for reason in Reason}

_BY_UID: Final = RUNS.c.uid == bindparam("uid_")
# Without the spec, which may be large: it is decoded once (see SqliteStore).
_COLUMNS: Final = [column for column in RUNS.c if column is not RUNS.c.spec]
_RUN: Final = select(*_COLUMNS).where(_BY_UID)
_SPEC: Final = select(RUNS.c.spec).where(_BY_UID)
_CHANGE_COLUMNS: Final = (
    *(CHANGES.c.state, CHANGES.c.at, CHANGES.c.ref, CHANGES.c.side),
    *(CHANGES.c.attempt, CHANGES.c.launch, CHANGES.c.reason, CHANGES.c.message),
)
_HISTORY: Final = (
    select(*_CHANGE_COLUMNS)
    .where(CHANGES.c.run_id == bindparam("run_id_"))
    .order_by(CHANGES.c.sequence)
)
_CHANGES: Final = (
    select(*_CHANGE_COLUMNS, CHANGES.c.id, CHANGES.c.sequence, RUNS.c.uid)
    .join(RUNS, RUNS.c.id == CHANGES.c.run_id)
    .where(CHANGES.c.id > bindparam("after_"))
    .order_by(CHANGES.c.id)
    .limit(bindparam("limit_"))
)
_RECORDS: Final = (
    select(RECORDS.c.ref, RECORDS.c.side, RECORDS.c.version, RECORDS.c.record)
    .join(RUNS, RUNS.c.id == RECORDS.c.run_id)
    .where(_BY_UID)
)
_PLAN: Final = (
    select(PLANS.c.plan)
    .select_from(RUNS)
    .outerjoin(PLANS, RUNS.c.id == PLANS.c.run_id)
    .where(_BY_UID)
)

_INSERT_REQUEST: Final = insert_or(REQUESTS).on_conflict_do_nothing()
# Made once: to build a statement takes longer than SQLite needs for it.
_UPDATE_RUN: Final = update(RUNS).where(RUNS.c.id == bindparam("id_"))


def missing(uid: str) -> NotFound:
    """What is told where there is no such run."""
    return NotFound(f"there is no run {uid}")


def find(connection: Connection, uid: str) -> AnyRow:
    """A run's row, without its spec. Raises NotFound."""
    row = connection.execute(_RUN, {"uid_": uid}).one_or_none()
    if row is None:
        raise missing(uid)
    return row


# ------------------------------------------------------------------------------- what users write


def new_row(
    spec: PipelineRunSpec, target: Target, request: Request | None, meta: Meta
) -> dict[str, Any]:
    """The row of a new run, but for its category."""
    return {
        "uid": meta.uid,
        "namespace": meta.namespace,
        "target": target.value,
        "pipeline": spec.name,
        "created_at": meta.created_at,
        "version": 1,
        "state": RunState.PENDING.value,
        "suspend": spec.suspend,
        "deleting": False,
        "live": True,
        "request": None if request is None else REQUEST.encode(request),
        "status": STATUS.encode(RunStatus()),
        "spec": encode_spec(spec),
    }


def create(connection: Connection, row: Mapping[str, Any], idempotency: Idempotency | None) -> str:
    """Returns the uid: the row's, or of the run that a known key has made. Raises KeyReused."""
    if idempotency is not None:
        known = claim(connection, idempotency, dict(row) | {"kind": _KIND})
        if known is not None:
            return _still_there(connection, known, idempotency)
    kind = Kind.TASK if row["target"] == Target.TASK else Kind.PIPELINE
    category = category_of(connection, kind, row["namespace"], row["pipeline"])
    connection.execute(insert(RUNS), dict(row) | {"category": category})
    if row["request"] is not None:
        made = find(connection, row["uid"])
        _note(connection, made, REQUEST.decode(row["request"]))
    return str(row["uid"])


def recall(connection: Connection, namespace: str, idempotency: Idempotency) -> str | None:
    """The uid of the run that a known key has made; None for a new key. Raises KeyReused."""
    known = idempotency_keys.recall(connection, idempotency, namespace, _KIND)
    return None if known is None else _still_there(connection, known, idempotency)


def _still_there(connection: Connection, uid: str, idempotency: Idempotency) -> str:
    if connection.execute(_RUN, {"uid_": uid}).one_or_none() is None:
        raise removed(idempotency)
    return uid


def request(connection: Connection, uid: str, asked: Request) -> None:
    """Raises NotFound, OperationPending."""
    row = find(connection, uid)
    if not _note(connection, row, asked):
        return
    waiting = _waiting(row)
    if waiting is not None:
        raise OperationPending(f"{waiting.operation} of run {uid} still waits for its answer")
    update_run(connection, row, request=REQUEST.encode(asked), live=True)


def _waiting(row: AnyRow) -> Request | None:
    """The operation that waits for its answer."""
    if row.request is None:
        return None
    newest, reply = REQUEST.decode(row.request), STATUS.decode(row.status).reply
    return None if reply is not None and reply.id == newest.id else newest


def _note(connection: Connection, row: AnyRow, asked: Request) -> bool:
    """Remember the request's id; whether it is new."""
    noted = connection.execute(_INSERT_REQUEST, {"run_id": row.id, "request": asked.id})
    return bool(noted.rowcount)


def suspend(connection: Connection, uid: str, wanted: bool) -> None:
    """Raises NotFound."""
    row = find(connection, uid)
    if row.suspend == wanted:
        return
    written = json.loads(connection.execute(_SPEC, {"uid_": uid}).scalar_one())
    written["suspend"] = wanted
    update_run(connection, row, suspend=wanted, spec=_compact(written))


def mark_deleting(connection: Connection, uid: str, *, only_over: bool) -> None:
    """Raises NotFound, NotOver."""
    row = find(connection, uid)
    if only_over:
        check_over(STATUS.decode(row.status).summary.state, _waiting(row))
    if not row.deleting:
        update_run(connection, row, deleting=True, live=True)


def remove(connection: Connection, uid: str, version: str | None) -> bool:
    """With all that the run owns. Returns whether there was one. Raises Conflict."""
    if version is not None:
        try:
            row = find(connection, uid)
        except NotFound:
            return False
        if not row.deleting and str(row.version) != version:
            raise Conflict(f"run {uid} is in version {row.version}, not {version}")
    return bool(connection.execute(delete(RUNS).where(RUNS.c.uid == uid)).rowcount)


def update_run(connection: Connection, row: AnyRow, **values: Any) -> None:
    """Write columns of a run's row; a new version."""
    connection.execute(_UPDATE_RUN, {**values, "id_": row.id, "version": row.version + 1})


# ---------------------------------------------------------------------------------------- reading


def read_run(row: AnyRow, spec: PipelineRunSpec, history: tuple[Change, ...]) -> Run:
    """The run of a row."""
    version = str(row.version)
    meta = Meta(row.uid, row.namespace, version, row.created_at, deleting=row.deleting)
    asked = None if row.request is None else REQUEST.decode(row.request)
    return Run(meta, spec, Target(row.target), asked, STATUS.decode(row.status), history)


def read_history(connection: Connection, run_id: int) -> list[Change]:
    """A run's changes, the first first."""
    return [_change(row) for row in connection.execute(_HISTORY, {"run_id_": run_id}).all()]


def read_spec(connection: Connection, uid: str) -> str:
    """The text of a run's spec."""
    return str(connection.execute(_SPEC, {"uid_": uid}).scalar_one())


def encode_spec(spec: PipelineRunSpec) -> str:
    """The text of a run's spec: as written, numbers and key order exact."""
    return _compact(spec.as_written())


def decode_spec(text: str) -> PipelineRunSpec:
    """The spec of a text that `encode_spec` wrote."""
    written = json.loads(text)
    # Checking a MiB of parameters takes many milliseconds, and was done when they were written.
    parameters = written["parameters"]
    spec = PipelineRunSpec.model_validate(written | {"parameters": {}})
    return spec.model_copy(update={"parameters": parameters})


def select_runs(namespace: str, query: Query) -> Select[Any]:
    """The runs of a list, but for its pages."""
    columns = RUNS.c
    chosen = select(RUNS).where(
        columns.namespace == namespace, columns.target == Target.PIPELINE.value
    )
    wanted = {
        columns.state: query.status,
        columns.pipeline: query.pipeline,
        columns.category: query.category,
    }
    return chosen.where(*[column == value for column, value in wanted.items() if value is not None])


def live(connection: Connection) -> list[str]:
    """Uids of the runs that may still need something, oldest first."""
    chosen = select(RUNS.c.uid).where(RUNS.c.live).order_by(RUNS.c.id)
    return list(connection.scalars(chosen))


def read_plan(connection: Connection, uid: str) -> str | None:
    """The text of a run's plan, if it has one. Raises NotFound."""
    found = connection.execute(_PLAN, {"uid_": uid}).one_or_none()
    if found is None:
        raise missing(uid)
    return None if found[0] is None else str(found[0])


def read_records(connection: Connection, uid: str) -> list[tuple[Key, int, str]]:
    """Keys, versions and texts of a run's records."""
    rows = connection.execute(_RECORDS, {"uid_": uid})
    return [((ref, _SIDES[side]), version, text) for ref, side, version, text in rows]


def has_record(connection: Connection, run_id: int, key: Key) -> bool:
    """Whether there is such a record."""
    where = (RECORDS.c.run_id == run_id, RECORDS.c.ref == key[0], RECORDS.c.side == key[1].value)
    return connection.execute(select(RECORDS.c.version).where(*where)).first() is not None


def read_changes(connection: Connection, after: int, limit: int) -> list[Logged]:
    """Changes of all runs after the id `after`, oldest first."""
    rows = connection.execute(_CHANGES, {"after_": after, "limit_": max(1, limit)})
    return [Logged(str(row.id), row.uid, row.sequence, _change(row)) for row in rows]


def last_change(connection: Connection) -> int:
    """The largest id that a change ever had: SQLite keeps it, also when that change is removed."""
    kept = "SELECT seq FROM sqlite_sequence WHERE name = 'changes'"
    return int(connection.exec_driver_sql(kept).scalar_one_or_none() or 0)


def _change(row: AnyRow) -> Change:
    state, at, ref, side, attempt, launch, reason, message = row[:8]
    if ref is None:
        return Change(_RUN_STATES[state], at, reason=_REASONS[reason], message=message)
    key = (ref, _SIDES[side])
    return Change(_TASK_STATES[state], at, *key, attempt, launch, _REASONS[reason], message)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
