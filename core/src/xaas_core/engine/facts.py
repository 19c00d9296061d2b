"""What the engine is told (`Facts`) and what it answers (`Decision`)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from xaas_core.engine.history import Change, History
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import TaskRecord, Verdict
from xaas_core.engine.states import OnAbort, Operation, Reason, RunState, Side

Key = tuple[str, Side]
"""Names a task run within its run."""


class Phase(StrEnum):
    """What a launcher knows of the newest runner of a task run."""

    ABSENT = "absent"  # there surely is none (and never was, or its traces are gone)
    LIVE = "live"  # starting or running; it may still report
    OVER = "over"  # all its processes are surely gone
    REFUSED = "refused"  # the backend will never start it


@dataclass(frozen=True)
class Sighting:
    """An observation of the runner of (attempt, launch). `message` is for the user.

    `gone` are the steps whose process has ended while others of the runner live on. `held`: traces
    of this or an earlier runner of the task run are kept until they are released. `ending`: it lives,
    and is being stopped. `starting`: it is being asked for at this moment, and may come to nothing.
    """

    attempt: int
    launch: int
    phase: Phase
    reason: Reason = Reason.NONE
    message: str = ""
    gone: frozenset[int] = frozenset()
    held: bool = False
    ending: bool = False
    starting: bool = False


@dataclass(frozen=True)
class Settings:
    """The settings of a run. Durations in milliseconds."""

    auto_rollback: bool = True
    on_abort: OnAbort = OnAbort.FINISH
    suspend: bool = False
    timeout: int | None = None
    ttl_after_finished: int | None = None


@dataclass(frozen=True)
class Request:
    """An operation that waits for its answer."""

    id: str
    operation: Operation


@dataclass(frozen=True)
class Reply:
    """The answer to a request, written with the changes that it caused. `state`: as decided.

    `starts`: the run was asked to start, and will as soon as its definitions are there.
    """

    id: str
    operation: Operation
    accepted: bool
    state: RunState
    message: str = ""
    starts: bool = False


@dataclass(frozen=True)
class Facts:
    """Everything that a decision depends on; `now` in milliseconds since 1970.

    `verdicts` are answers to questions of an earlier decision, not yet stored. `folded` is the fold
    of `history`, if it is known. `starts`: as the newest reply has it.
    """

    now: int
    plan: Plan
    history: tuple[Change, ...] = ()
    records: Mapping[Key, TaskRecord] = field(default_factory=dict)
    sightings: Mapping[Key, Sighting] = field(default_factory=dict)
    settings: Settings = Settings()
    request: Request | None = None
    deleting: bool = False
    starts: bool = False
    verdicts: Mapping[Key, Verdict] = field(default_factory=dict)
    folded: History | None = None


@dataclass(frozen=True)
class Launch:
    """Start a runner: idempotent by all fields. `steps` in the order to run them."""

    ref: str
    side: Side
    attempt: int
    launch: int
    steps: tuple[int, ...]


@dataclass(frozen=True)
class End:
    """End a runner: SIGTERM, `grace` milliseconds, SIGKILL. Idempotent. `begun`: a step of it has
    begun, so it runs, whether it is seen to or not."""

    ref: str
    side: Side
    attempt: int
    launch: int
    grace: int
    begun: bool = False


@dataclass(frozen=True)
class Release:
    """The outcome of a runner is recorded: its traces, and those of earlier ones, may go."""

    ref: str
    side: Side
    attempt: int
    launch: int


@dataclass
class Decision:
    """What to do, in this order: write `records`, then `changes` with `reply`, then the effects.

    `questions` are task runs whose verdict is needed before anything else about them is decided.
    `ahead` are runners that may be needed soon, also those that are up; starting them is up to the
    launcher. `retire`: the run is over and no runner of it is left. `wake_at` is when to look again
    if nothing happens before.
    """

    changes: list[Change] = field(default_factory=list)
    records: dict[Key, TaskRecord] = field(default_factory=dict)
    questions: list[Key] = field(default_factory=list)
    reply: Reply | None = None
    launches: list[Launch] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    ahead: list[Launch] = field(default_factory=list)
    remove: bool = False
    retire: bool = False
    wake_at: int | None = None
    after: History | None = None

    def wake(self, at: int) -> None:
        """Look again at `at` or before."""
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)
