"""`ports.Store` in memory: complete, with real versions, and nothing durable.

It keeps the contract of the port and passes the suite that the real stores pass. The simulation
builds on it: `between` is called between the writes of one commit, where a real store may be cut
off, and `seen` after each write.
"""

import asyncio
import itertools
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from xaas_core.engine.facts import Key, Request
from xaas_core.engine.history import Change
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import OVER
from xaas_core.models.objects import Definition, DefinitionSpec, Meta, Run, RunStatus
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_core.operations import check_over
from xaas_core.ports import (
    AlreadyExists,
    Clock,
    Conflict,
    Idempotency,
    KeyReused,
    Kind,
    Logged,
    NotFound,
    OperationPending,
    Page,
    Part,
    Query,
    Stored,
    Touch,
    Writes,
    reported,
)

T = TypeVar("T")

DefinitionKey = tuple[Kind, str, str]
"""Kind, namespace, name."""


@dataclass
class Row:
    """All that is kept of one run."""

    meta: Meta
    number: int
    spec: PipelineRunSpec
    target: Target
    category: str | None
    request: Request | None
    status: RunStatus = field(default_factory=RunStatus)
    history: tuple[Change, ...] = ()
    plan: Plan | None = None
    records: dict[Key, Stored[TaskRecord]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def run(self, history: bool = True) -> Run:
        """The run as it is now."""
        shown = self.history if history else ()
        return Run(self.meta, self.spec, self.target, self.request, self.status, shown)


class MemoryStore:
    """`ports.Store` in memory; the time of creation comes from `clock`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = itertools.count(1)
        self._definitions: dict[DefinitionKey, tuple[int, Definition[DefinitionSpec]]] = {}
        self._definition_keys: dict[tuple[Kind, str, str], tuple[str, Definition[DefinitionSpec]]]
        self._definition_keys = {}
        self._run_keys: dict[tuple[str, str], tuple[str, str]] = {}
        self._log: list[Logged] = []
        self._touched: list[Callable[[Touch], None]] = []
        self.rows: dict[str, Row] = {}

    # --- for tests to build on ---

    async def between(self) -> None:
        """Called between the writes of one commit."""

    def seen(self, row: Row, part: Part) -> None:
        """Called after each write to a run."""

    def on_touch(self, touched: Callable[[Touch], None]) -> None:
        """Call `touched` at each write."""
        self._touched.append(touched)

    # --- definitions ---

    async def create_definition(
        self, kind: Kind, namespace: str, spec: DefinitionSpec, idempotency: Idempotency | None
    ) -> Definition[DefinitionSpec]:
        """See `ports.Store`."""
        if idempotency is not None:
            known = self._definition_keys.get((kind, namespace, idempotency.key))
            if known is not None:
                return _same(known, idempotency)
        where = (kind, namespace, spec.name)
        if where in self._definitions:
            raise AlreadyExists(f"there is a {kind} {spec.name!r} already")
        made = Definition(self._new_meta(namespace), spec)
        self._definitions[where] = (next(self._count), made)
        if idempotency is not None:
            self._definition_keys[kind, namespace, idempotency.key] = (idempotency.digest, made)
        return made

    async def get_definition(
        self, kind: Kind, namespace: str, name: str
    ) -> Definition[DefinitionSpec]:
        """See `ports.Store`."""
        found = self._definitions.get((kind, namespace, name))
        if found is None:
            raise NotFound(f"there is no {kind} {name!r}")
        return found[1]

    async def list_definitions(
        self, kind: Kind, namespace: str, query: Query
    ) -> Page[Definition[DefinitionSpec]]:
        """See `ports.Store`."""
        found = [
            (number, definition)
            for (of, where, _), (number, definition) in self._definitions.items()
            if of is kind
            and where == namespace
            and query.category in (None, definition.spec.category)
            and _created_within(definition.meta, query)
        ]
        return _page(found, query)

    async def replace_definition(
        self, kind: Kind, namespace: str, spec: DefinitionSpec, if_match: str | None
    ) -> Definition[DefinitionSpec]:
        """See `ports.Store`."""
        old = await self.get_definition(kind, namespace, spec.name)
        _check_match(old.meta, if_match)
        new = Definition(replace(old.meta, resource_version=self._version()), spec)
        where = (kind, namespace, spec.name)
        self._definitions[where] = (self._definitions[where][0], new)
        return new

    async def delete_definition(
        self, kind: Kind, namespace: str, name: str, if_match: str | None
    ) -> None:
        """See `ports.Store`."""
        _check_match((await self.get_definition(kind, namespace, name)).meta, if_match)
        del self._definitions[kind, namespace, name]

    # --- what users write of runs ---

    async def create_run(
        self,
        namespace: str,
        spec: PipelineRunSpec,
        target: Target,
        request: Request | None,
        idempotency: Idempotency | None,
    ) -> Run:
        """See `ports.Store`."""
        if idempotency is not None:
            known = await self.recall_run(namespace, idempotency)
            if known is not None:
                return known
        pipeline = self._definitions.get((Kind.PIPELINE, namespace, spec.name))
        row = Row(
            meta=self._new_meta(namespace),
            number=next(self._count),
            spec=spec,
            target=target,
            category=pipeline[1].spec.category if pipeline is not None else None,
            request=request,
            asked={request.id} if request is not None else set(),
        )
        self.rows[row.meta.uid] = row
        if idempotency is not None:
            self._run_keys[namespace, idempotency.key] = (idempotency.digest, row.meta.uid)
        self._touch(row, Part.SPEC)
        return row.run()

    async def recall_run(self, namespace: str, idempotency: Idempotency) -> Run | None:
        """See `ports.Store`."""
        known = self._run_keys.get((namespace, idempotency.key))
        return None if known is None else self._row(_same(known, idempotency)).run()

    async def request(self, uid: str, request: Request) -> Run:
        """See `ports.Store`."""
        row = self._row(uid)
        if request.id in row.asked:
            return row.run()
        waiting = row.run(history=False).pending_request
        if waiting is not None:
            raise OperationPending(f"the operation {waiting.operation} isn't decided yet")
        row.request = request
        row.asked.add(request.id)
        return self._wrote_spec(row)

    async def suspend(self, uid: str, suspend: bool) -> Run:
        """See `ports.Store`."""
        row = self._row(uid)
        row.spec = row.spec.model_copy(update={"suspend": suspend})
        return self._wrote_spec(row)

    async def mark_deleting(self, uid: str, *, only_over: bool = False) -> Run:
        """See `ports.Store`."""
        row = self._row(uid)
        if only_over:
            run = row.run(history=False)
            check_over(run.status.summary.state, run.pending_request)
        row.meta = replace(row.meta, deleting=True)
        return self._wrote_spec(row)

    def _wrote_spec(self, row: Row) -> Run:
        row.meta = replace(row.meta, resource_version=self._version())
        self._touch(row, Part.SPEC)
        return row.run()

    # --- reading runs ---

    async def get_run(self, uid: str) -> Run:
        """See `ports.Store`."""
        return self._row(uid).run()

    async def seen_run(self, uid: str) -> Run:
        """See `ports.Store`."""
        return await self.get_run(uid)

    async def list_runs(self, namespace: str, query: Query) -> Page[Run]:
        """See `ports.Store`."""
        found = [
            (row.number, row.run(history=False))
            for row in self.rows.values()
            if row.meta.namespace == namespace
            and row.target is Target.PIPELINE
            and query.status in (None, row.status.summary.state)
            and query.pipeline in (None, row.spec.name)
            and query.category in (None, row.category)
            and _created_within(row.meta, query)
        ]
        return _page(found, query)

    async def live_runs(self) -> Sequence[str]:
        """See `ports.Store`."""
        return [
            uid
            for uid, row in self.rows.items()
            if row.status.summary.state not in OVER
            or row.meta.deleting
            or row.spec.ttl_after_finished is not None
            or row.run(history=False).pending_request is not None
        ]

    async def plan(self, uid: str) -> Plan | None:
        """See `ports.Store`."""
        return self._row(uid).plan

    async def records(
        self, uid: str, keys: Collection[Key] | None = None
    ) -> dict[Key, Stored[TaskRecord]]:
        """See `ports.Store`."""
        records = self._row(uid).records
        return {key: each for key, each in records.items() if keys is None or key in keys}

    # --- what the reconciler and the gateway write ---

    async def commit(self, writes: Writes) -> None:
        """See `ports.Store`."""
        uid = writes.run.meta.uid
        row = self._row(uid)
        _check_version(row, writes)
        if writes.plan is not None:
            if row.plan is not None:
                raise Conflict("the run is planned already")
            row.plan = writes.plan
            self._touch(row, Part.STATUS)
            await self.between()
        for record, version in writes.records:
            self._save(self._row(uid), record, version)
            await self.between()
        if writes.status is None:
            return
        row = self._row(uid)
        _check_version(row, writes)  # a user may have got between
        row.meta = replace(row.meta, resource_version=self._version())
        row.status = writes.status
        row.history = (*row.history, *writes.changes)
        first = len(row.history) - len(writes.changes) + 1
        for sequence, change in enumerate(writes.changes, first):
            self._log.append(Logged(str(len(self._log) + 1), uid, sequence, change))
        self._touch(row, Part.STATUS)

    async def save_record(self, uid: str, record: TaskRecord, version: str) -> None:
        """See `ports.Store`."""
        self._save(self._row(uid), record, version)

    def _save(self, row: Row, record: TaskRecord, version: str | None) -> None:
        key = (record.ref, record.side)
        old = row.records.get(key)
        if (old.version if old is not None else None) != version:
            raise Conflict(f"the record of {record.ref!r} ({record.side}) was written meanwhile")
        row.records[key] = Stored(record, self._version())
        self._touch(row, reported(record))

    async def retire_run(self, run: Run) -> None:
        """See `ports.Store`."""

    async def remove_run(self, uid: str, version: str | None = None) -> None:
        """See `ports.Store`."""
        row = self.rows.get(uid)
        if row is None:
            return
        if not row.meta.deleting and version not in (None, row.meta.resource_version):
            raise Conflict(f"the run {uid} was written meanwhile")
        del self.rows[uid]
        self._run_keys = {key: known for key, known in self._run_keys.items() if known[1] != uid}
        self._touch(row, Part.REMOVED)

    # --- what was written ---

    async def changes(self, cursor: str | None, limit: int) -> Sequence[Logged]:
        """See `ports.Store`."""
        start = 0 if cursor is None else _number(cursor)
        found = (logged for logged in self._log[start:] if logged.run in self.rows)
        return list(itertools.islice(found, limit))

    async def last_cursor(self) -> str:
        """See `ports.Store`."""
        return str(len(self._log))

    async def resume(self, cursor: str) -> str:
        """See `ports.Store`."""
        _number(cursor)
        return cursor

    def touches(self) -> AsyncIterator[Touch]:
        """See `ports.Store`."""
        return _Touches(self._touched)

    # --- within ---

    def _row(self, uid: str) -> Row:
        try:
            return self.rows[uid]
        except KeyError:
            raise NotFound(f"there is no run {uid!r}") from None

    def _version(self) -> str:
        return str(next(self._count))

    def _new_meta(self, namespace: str) -> Meta:
        # Derived from a counter, not drawn: the same play makes the same names.
        uid = str(uuid.uuid5(uuid.NAMESPACE_OID, self._version()))
        return Meta(uid, namespace, self._version(), self._clock.now())

    def _touch(self, row: Row, part: Part) -> None:
        self.seen(row, part)
        for touched in list(self._touched):
            touched(Touch(row.meta.uid, part))


class _Touches:
    """One subscription: begins when it is made, holds what wasn't read yet."""

    def __init__(self, subscribed: list[Callable[[Touch], None]]) -> None:
        self._subscribed = subscribed
        self._waiting: deque[Touch] = deque()
        self._changed = asyncio.Event()
        subscribed.append(self._add)

    def _add(self, touch: Touch) -> None:
        self._waiting.append(touch)
        self._changed.set()

    def __aiter__(self) -> "_Touches":
        return self

    async def __anext__(self) -> Touch:
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        """Listen no more."""
        if self._add in self._subscribed:
            self._subscribed.remove(self._add)


def _same(known: tuple[str, T], idempotency: Idempotency) -> T:
    digest, made = known
    if digest != idempotency.digest:
        raise KeyReused(f"the Idempotency-Key {idempotency.key!r} came before, with another body")
    return made


def _check_version(row: Row, writes: Writes) -> None:
    if row.meta.resource_version != writes.run.meta.resource_version:
        raise Conflict("the run was written meanwhile")


def _check_match(meta: Meta, if_match: str | None) -> None:
    if if_match is not None and if_match != meta.resource_version:
        raise Conflict(f"the object's version is {meta.resource_version}, not {if_match}")


def _created_within(meta: Meta, query: Query) -> bool:
    before, after = query.created_before, query.created_after
    return (before is None or meta.created_at < before) and (
        after is None or meta.created_at > after
    )


def _page(found: list[tuple[int, T]], query: Query) -> Page[T]:
    """A page of `found`, pairs of number and item; the number of its last item is the cursor."""
    before = None if query.after is None else _number(query.after)
    newest = sorted(found, key=lambda pair: -pair[0])
    rest = [pair for pair in newest if before is None or pair[0] < before]
    page = rest[: query.limit]
    after = str(page[-1][0]) if len(rest) > len(page) and page else None
    return Page([item for _, item in page], after)


def _number(cursor: str) -> int:
    if not cursor.isdecimal():
        raise ValueError(f"{cursor!r} is no cursor of this list")
    return int(cursor)
