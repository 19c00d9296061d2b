"""Shows the witness what is written to the API server, in the words that it knows.

The witness (`tests.simulation.witness`) judges runs, records and runners; here objects become these.
What is checked beside it is what only Kubernetes has: finalizers, labels, Jobs, and that what is over
was let go of.
"""

from collections import deque
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

from tests.simulation.kubernetes.api_server import ApiServer, Event
from tests.simulation.kubernetes.containers import KubeJob
from tests.simulation.kubernetes.kube_weather import KubeFaults
from tests.simulation.kubernetes.virtual_loop import LoopClock, VirtualLoop
from tests.simulation.rules import RunFacts, check
from tests.simulation.witness import Witness

from xaas_core.engine.facts import Key
from xaas_core.engine.states import Side
from xaas_core.models.objects import Run
from xaas_core.ports import Part, RunnerKey, Stored
from xaas_core.testing.memory_store import Row
from xaas_core.testing.scripted import Job, Mishaps
from xaas_kube import plan_objects, record_objects, run_objects
from xaas_kube.client import Json
from xaas_kube.jobs import OUTAGE
from xaas_kube.words import Annotation, Label

BY_RUNNER: ContextVar["Call | None"] = ContextVar("by_runner", default=None)
"""The runner's call that is served."""


@dataclass(frozen=True)
class Call:
    """A runner's call to the gateway. `born`: the loop's turn in which it was made."""

    name: str
    born: int


class Trace:
    """What was seen; to the witness and to playbooks it is the stage."""

    def __init__(self, loop: VirtualLoop, clock: LoopClock, seed: int | str) -> None:
        self._loop = loop
        self.clock = clock
        self.random = Random(seed)
        self.echo: Callable[[str], None] | None = None
        self._lines: deque[tuple[int, str, str, tuple[Any, ...]]] = deque(maxlen=400)
        self.who: Callable[[], str] = lambda: "-"

    @property
    def steps(self) -> int:
        """Turns of the loop so far."""
        return self._loop.turns

    @property
    def current(self) -> Call | None:
        """The runner's call that is served, if one is."""
        return BY_RUNNER.get()

    def note(self, text: str, *values: Any) -> None:
        """Add a line; `values` are put into `text` when somebody reads it."""
        entry = (self.clock.now(), self.who(), text, values)
        self._lines.append(entry)
        if self.echo is not None:
            self.echo(_line(entry))

    def story(self, last: int = 80) -> str:
        """The last of what was seen."""
        return "\n".join(_line(entry) for entry in list(self._lines)[-last:])


def _line(entry: tuple[int, str, str, tuple[Any, ...]]) -> str:
    at, who, text, values = entry
    return f"{(at % 100_000_000) / 1000:>10.3f} {who:<14} {text % values if values else text}"


@dataclass
class Judge:
    """Listens to the API server. `failed` is called with the first rule that is broken."""

    server: ApiServer
    trace: Trace
    facts: RunFacts
    faults: KubeFaults
    failed: Callable[[BaseException], None]
    jobs: dict[str, KubeJob] = field(default_factory=dict)  # by uid

    def __post_init__(self) -> None:
        self.witness = Witness(cast(Any, self.trace), self.facts, self.faults)
        self.hand: set[RunnerKey] = set()
        self._ahead: dict[RunnerKey, KubeJob] = {}
        self.witness.erased = self.hand
        self.server.listeners.append(self._seen)

    def _seen(self, event: Event) -> None:
        look = {
            "pipelineruns": self._run,
            "pipelinetaskruns": self._record,
            "controllerrevisions": self._plan,
            "jobs": self._job,
        }.get(event.place.resource)
        if look is None:
            return
        try:
            look(event)
        except BaseException as error:  # noqa: BLE001 - whatever it is ends the play
            self.failed(error)

    def _run(self, event: Event) -> None:
        run = run_objects.read(event.item)
        uid = run.meta.uid
        if event.kind == "DELETED":
            self.witness.saw_run(self.witness.rows[uid], Part.REMOVED)
            return
        row = self.witness.rows.get(uid)
        if row is None:
            row = self.witness.rows[uid] = _row(run)
        row.meta, row.spec, row.request = run.meta, run.spec, run.request
        row.status, row.history = run.status, run.history
        before = event.before.get("status") if event.before is not None else None
        status = before != event.item.get("status")
        self.witness.saw_run(row, Part.STATUS if status else Part.SPEC)

    def _plan(self, event: Event) -> None:
        row = self.witness.rows.get(event.item["metadata"]["labels"][Label.RUN])
        if row is not None and event.kind == "ADDED" and not self.witness.removed:
            check(row.plan is None, "I10: planned twice")
            row.plan = plan_objects.read(event.item)

    def _record(self, event: Event) -> None:
        if event.kind == "DELETED":
            return
        row = self.witness.rows.get(event.item["metadata"]["labels"][Label.RUN])
        if row is None:
            return
        new, key = record_objects.read(event.item), record_objects.key_of(event.item)
        old = row.records.get(key)
        row.records[key] = Stored(new, event.item["metadata"]["resourceVersion"])
        if old is None or old.value != new:
            by_runner = BY_RUNNER.get() is not None
            self.witness.saw_record(row, old.value if old is not None else None, new, by_runner)
        # From here on a runner that was started ahead is one like any other.
        for intended in [each for each in self._ahead if self._is_intended(each)]:
            self.witness.job_started(self._ahead.pop(intended))

    def _is_intended(self, runner: RunnerKey) -> bool:
        row = self.witness.rows.get(runner.run)
        stored = row.records.get((runner.ref, runner.side)) if row is not None else None
        return stored is not None and stored.value.last is not None

    # --- Jobs ---

    def _job(self, event: Event) -> None:
        if event.kind == "ADDED":
            key = runner_key(event.item)
            older = self.witness.jobs.get(key)
            again = older is not None and older.live
            # Ahead of its turn another one may be started while what somebody deleted still ends, unseen:
            # nothing is recorded of either, and only one can begin.
            ahead = bool(self.faults.lookahead) and not self._is_intended(key)
            allowed = ahead or not self.faults.strict
            check(not again or allowed, "I1: two Jobs of one launch: %s", key)
            job = self.jobs[event.item["metadata"]["uid"]]
            if older is not None:
                job.processes.extend(older.processes)
            self.witness.jobs[key] = job
            if ahead:
                self._ahead[key] = job
            else:
                self.witness.job_started(job)
        elif event.kind == "DELETED":
            job = self.jobs[event.item["metadata"]["uid"]]
            job.pods_to_come = 0

    def check_over(self, run: Json) -> None:
        """A run that is over, and left alone: it costs nothing any more."""
        meta = run["metadata"]
        check(Label.OVER in (meta.get("labels") or {}), "the run isn't put aside")
        check(not meta.get("finalizers"), "finalizers are left: %s", meta.get("finalizers"))
        for item in self.server.all("jobs"):
            ttl, kept = item["spec"]["ttlSecondsAfterFinished"], self.faults.kept
            # One that a replica didn't see when it put its run aside is kept as it said at first.
            as_told = ttl == kept or (self.faults.blind and ttl == OUTAGE)
            check(as_told, "a Job is kept too long: %s, %s s", item["metadata"]["name"], ttl)


def runner_key(job: Json) -> RunnerKey:
    """What a Job runs, by its labels."""
    labels, annotations = job["metadata"]["labels"], job["metadata"]["annotations"]
    return RunnerKey(
        labels[Label.RUN],
        annotations[Annotation.REF],
        Side(labels[Label.SIDE]),
        int(labels[Label.ATTEMPT]),
        int(labels[Label.LAUNCH]),
    )


def new_job(item: Json) -> KubeJob:
    """The truth about a new Job."""
    return KubeJob(
        runner_key(item), cast(Any, None), Mishaps(), uid=item["metadata"]["uid"], pods_to_come=1
    )


def _row(run: Run) -> Row:
    return Row(run.meta, 0, run.spec, run.target, None, run.request)


__all__ = ["BY_RUNNER", "Call", "Collection", "Job", "Judge", "Key", "Trace", "new_job"]
