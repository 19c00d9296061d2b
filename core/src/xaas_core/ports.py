"""The doors to the outside: what the reconciler, the gateway and the API need of a backend.

Each has two real implementations (`xaas_local`, `xaas_kube`) and one for the simulation, and one
contract suite that runs on all of them. All times are milliseconds since 1970.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar

from xaas_core.engine.facts import Key, Request, Sighting
from xaas_core.engine.history import Change
from xaas_core.engine.plan import Plan, TaskPlan
from xaas_core.engine.records import Failure, TaskRecord
from xaas_core.engine.states import Side
from xaas_core.models.objects import Definition, DefinitionSpec, Run, RunStatus
from xaas_core.models.pipeline import PipelineSpec
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_core.models.pipeline_task import PipelineTaskSpec

T = TypeVar("T")


class StoreError(Exception):
    """What a store says instead of doing what was asked; the text is for the user."""


class NotFound(StoreError):
    """There is no such object."""


class Unusable(NotFound):
    """The object is there, and isn't valid: as if there were none. The text says what is wrong."""


class AlreadyExists(StoreError):
    """An object of that name exists."""


class Conflict(StoreError):
    """The object isn't in the version that was expected: read it again and decide again."""


class KeyReused(StoreError):
    """An Idempotency-Key came again with another body."""


class OperationPending(StoreError):
    """Another operation waits for its answer."""


class NotOver(StoreError):
    """The run isn't over, or an operation waits that takes it on."""


class TooLarge(StoreError):
    """The object is larger than the backend can keep. Nothing was written."""


class LogGone(StoreError):
    """A runner's log isn't kept any more: its pod is gone."""


class Unavailable(StoreError):
    """The backend can't be reached, or is full. Nothing was written; try later."""


class Kind(StrEnum):
    """The kinds of definitions."""

    TASK = "PipelineTask"
    PIPELINE = "Pipeline"


SPECS: Mapping[Kind, type[PipelineTaskSpec] | type[PipelineSpec]] = {
    Kind.TASK: PipelineTaskSpec,
    Kind.PIPELINE: PipelineSpec,
}


@dataclass(frozen=True)
class Idempotency:
    """A client's key for a POST, and a digest of the body: same key and body, same object."""

    key: str
    digest: str


@dataclass(frozen=True)
class Query:
    """Which objects of a list. `after` is the opaque `continue` of the page before.

    `status` and `pipeline` are for runs; `category` is the definition's, of a run its pipeline's.
    Times are exclusive bounds.
    """

    limit: int = 100
    after: str | None = None
    status: str | None = None
    pipeline: str | None = None
    category: str | None = None
    created_before: int | None = None
    created_after: int | None = None


@dataclass(frozen=True)
class Page(Generic[T]):
    """Part of a list, newest first. `after`: give it to the next query; None at the end."""

    items: Sequence[T]
    after: str | None = None


@dataclass(frozen=True)
class Stored(Generic[T]):
    """A value with the version to guard its next write with."""

    value: T
    version: str


@dataclass(frozen=True)
class Writes:
    """One reconcile's writes, in this order: plan, records, then the run's status and changes.

    Nothing of them is written if the run isn't in the version of `run`. A store may apply a prefix
    of them and then raise, never a part of one, and never out of order; two commits of one run
    never mix. A status moves the run's version, and comes with every commit of the reconciler.
    `records` are pairs of record and the version it replaces (None: it must not exist yet).
    """

    run: Run
    plan: Plan | None = None
    records: Sequence[tuple[TaskRecord, str | None]] = ()
    status: RunStatus | None = None
    changes: Sequence[Change] = ()


class Part(StrEnum):
    """What of a run was touched."""

    SPEC = "spec"  # created, or changed by a user
    BEGUN = "begun"  # a runner began a step: nothing follows from it but that this is to be told
    RECORD = "record"  # a runner finished something
    STATUS = "status"  # the reconciler wrote
    REMOVED = "removed"


def reported(record: TaskRecord) -> Part:
    """What a runner's write of `record` touches."""
    return Part.BEGUN if record.last is not None and record.last.runs else Part.RECORD


@dataclass(frozen=True)
class Touch:
    """Something of a run was written. A hint: what it says is read anew."""

    run: str
    part: Part


@dataclass(frozen=True)
class Logged:
    """A change as it was recorded. `cursor` is opaque: reading goes on after it."""

    cursor: str
    run: str
    sequence: int
    change: Change


class Store(Protocol):
    """Where everything is kept. Every method may raise Unavailable; reads are of the live state,
    unless they say otherwise."""

    async def create_definition(
        self, kind: Kind, namespace: str, spec: DefinitionSpec, idempotency: Idempotency | None
    ) -> Definition[DefinitionSpec]:
        """Raises AlreadyExists, KeyReused. A known key gives the object made then."""

    async def get_definition(
        self, kind: Kind, namespace: str, name: str
    ) -> Definition[DefinitionSpec]:
        """Raises NotFound."""

    async def list_definitions(
        self, kind: Kind, namespace: str, query: Query
    ) -> Page[Definition[DefinitionSpec]]:
        """Newest first. Raises ValueError for an `after` that is none of ours."""

    async def replace_definition(
        self, kind: Kind, namespace: str, spec: DefinitionSpec, if_match: str | None
    ) -> Definition[DefinitionSpec]:
        """By `spec.name`. Raises NotFound; Conflict if `if_match` isn't its version."""

    async def delete_definition(
        self, kind: Kind, namespace: str, name: str, if_match: str | None
    ) -> None:
        """Raises NotFound; Conflict if `if_match` isn't its version."""

    async def create_run(
        self,
        namespace: str,
        spec: PipelineRunSpec,
        target: Target,
        request: Request | None,
        idempotency: Idempotency | None,
    ) -> Run:
        """Raises KeyReused. A known key gives the run made then."""

    async def recall_run(self, namespace: str, idempotency: Idempotency) -> Run | None:
        """The run made with a known key; None if the key is new. Raises KeyReused.

        Asked before a run is admitted: what it referred to may be gone since then.
        """

    async def get_run(self, uid: str) -> Run:
        """With its history. Raises NotFound."""

    async def seen_run(self, uid: str) -> Run:
        """The same as it was last seen here: others may have written since, and never we ourselves.

        For what is guarded when it is written, or never changes. Raises NotFound.
        """

    async def list_runs(self, namespace: str, query: Query) -> Page[Run]:
        """Newest first, without histories and without hidden runs."""

    async def live_runs(self) -> Sequence[str]:
        """Uids of the runs that may still need something: not over, or being deleted, or with a
        time to be removed at, or with an operation that waits; or over, and not put aside yet."""

    async def request(self, uid: str, request: Request) -> Run:
        """Ask for an operation. Raises NotFound, OperationPending. A known id changes nothing."""

    async def suspend(self, uid: str, suspend: bool) -> Run:
        """Raises NotFound."""

    async def mark_deleting(self, uid: str, *, only_over: bool = False) -> Run:
        """The reconciler will stop and remove it. Raises NotFound; with `only_over` NotOver, and then
        no operation that was accepted is lost with the run."""

    async def retire_run(self, run: Run) -> None:
        """The run is over, and no runner of it is left: put it aside, so that it costs nothing.

        Idempotent. An operation that is asked for later takes it back. May raise Conflict if the run
        isn't in this version any more.
        """

    async def remove_run(self, uid: str, version: str | None = None) -> None:
        """Remove the run and all it owns; no error if it is gone. With `version` Conflict, if it isn't in
        that version any more and nobody is deleting it: something was asked of it meanwhile."""

    async def plan(self, uid: str) -> Plan | None:
        """The run's plan; None if it isn't made yet. Raises NotFound."""

    async def records(
        self, uid: str, keys: Collection[Key] | None = None
    ) -> dict[Key, Stored[TaskRecord]]:
        """The records of a run's task runs: all as they were last seen here, or those of `keys`,
        which are read live."""

    async def commit(self, writes: Writes) -> None:
        """Write one reconcile's outcome. Raises Conflict, NotFound; see `Writes`."""

    async def save_record(self, uid: str, record: TaskRecord, version: str) -> None:
        """Write one record that a runner changed. Raises Conflict, NotFound."""

    async def changes(self, cursor: str | None, limit: int) -> Sequence[Logged]:
        """Recorded changes after `cursor` (None: from the first), oldest first.

        In order within a run. Raises ValueError for a cursor that is none of ours.
        """

    async def last_cursor(self) -> str:
        """The cursor of the newest change: reading after it gives only what comes from now on."""

    async def resume(self, cursor: str) -> str:
        """Where a client that was told `cursor`, by any server and before any restart, goes on so
        that nothing is lost: repeats are possible. Raises ValueError for one that is none of ours.
        """

    def touches(self) -> AsyncIterator[Touch]:
        """What is written from now on; doubled or joined touches are possible, lost ones aren't."""


@dataclass(frozen=True)
class LaunchOrder:
    """What a launcher needs to start the runner of one attempt.

    `steps` are indexes in the order to run them. `token` opens the attempt at the gateway.
    """

    run: str
    namespace: str
    ref: str
    side: Side
    attempt: int
    launch: int
    steps: tuple[int, ...]
    task: TaskPlan
    token: str

    @property
    def key(self) -> Key:
        """Names the task run within its run."""
        return (self.ref, self.side)


@dataclass(frozen=True)
class RunnerKey:
    """Names one runner: the n-th launch of an attempt of a task run."""

    run: str
    ref: str
    side: Side
    attempt: int
    launch: int


class Launcher(Protocol):
    """Starts and ends runners, and says what it sees of them. Forgets nothing by a restart.

    The processes of a runner are one: when one of them ends without its step's outcome recorded,
    the others are ended too. Otherwise the next step's would wait for ever.
    """

    async def start(self, *orders: LaunchOrder) -> None:
        """Start one runner for each order, side by side. Idempotent by run, ref, side, attempt and
        launch. A runner that can't be started is sighted as refused. It may be under way when this
        returns, and is sighted as live then; if that comes to nothing for now, `changed` is called.
        Raises Unavailable if one should be tried again."""

    async def prepare(self, *orders: LaunchOrder) -> None:
        """Start runners ahead of their turn, as far as that is worth it: an order that is started
        later finds its runner up. Idempotent; told again and again of those that are up. May do
        nothing. Raises Unavailable; nothing depends on it."""

    async def end(self, runner: RunnerKey, grace: int, *, begun: bool = False) -> None:
        """SIGTERM, after `grace` milliseconds SIGKILL. Returns at once; idempotent. `begun`: a step of
        it has begun, so it has a log that is to be kept."""

    async def sight(self, run: str, runners: Collection[RunnerKey]) -> dict[Key, Sighting]:
        """What is known of these runners, and of those of other task runs of this run that live, or
        of which something is held. Raises Unavailable rather than guess; NotFound for a run that is
        gone, or was put aside."""

    async def release(self, runner: RunnerKey) -> None:
        """The outcome of this runner is recorded: what is kept of it, and of earlier ones of its task
        run, may go after a while. Idempotent. For sightings that say `held`."""

    async def forget(self, run: str) -> None:
        """The run is removed: remove what is kept of its runners, logs included."""

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """Call `changed(run)` whenever a runner's sighting has changed."""


class ScriptKind(StrEnum):
    """What a user's source is."""

    SCRIPT = "script"  # doScript or undoScript
    CONDITION = "condition"


@dataclass(frozen=True)
class Script:
    """A source to check."""

    source: str
    kind: ScriptKind
    allowed_imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Why a source is refused; `line` counts from 1."""

    reason: str
    line: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """What a condition gave, or why it gave nothing."""

    value: bool
    failure: Failure | None = None


class Evaluator(Protocol):
    """Compiles and evaluates users' sources, in a process of its own."""

    async def check(self, scripts: Sequence[Script]) -> Sequence[Finding | None]:
        """For each source why it is refused, or None. Raises Unavailable."""

    async def evaluate(
        self, condition: Script, params: Mapping[str, Any], tasks: Mapping[str, str]
    ) -> Evaluation:
        """Truth of a condition; params is a copy. Raises Unavailable."""


class Logs(Protocol):
    """Where runners' logs are read."""

    def read(
        self, runner: RunnerKey, step: int, offset: int, *, ended: bool = False
    ) -> AsyncIterator[bytes]:
        """What the log of a step holds from byte `offset` on; nothing if there is none yet.

        `ended`: the step has ended, and all that it wrote is wanted, be it a moment later.
        Raises LogGone, before anything is read, if there was one. Raises Unavailable.
        """


class Clock(Protocol):
    """The time."""

    def now(self) -> int:
        """Milliseconds since 1970."""


@dataclass
class Ports:
    """The doors of one backend."""

    store: Store
    launcher: Launcher
    evaluator: Evaluator
    logs: Logs
    clock: Clock
