"""What is known of a run while it is watched.

Two sources feed a board: *events* (each change of state, in order, possibly repeated) and
*snapshots* (the run and its task runs as REST shows them, with errors and times). An event moves a
state only if it is newer than what is known, so that repeats and late ones change nothing; a
snapshot is the truth of its moment. Both return the changes they made, for whoever draws them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from xaas_cli.client import Json
from xaas_cli.states import OVER, Side, Status
from xaas_cli.symbols import tame

EVER: Final = datetime.min.replace(tzinfo=UTC)
"""Before everything."""


@dataclass(frozen=True)
class Change:
    """One change of state; `ref` is None for the run's own. `note` says why, where that is known."""

    at: datetime
    name: str
    status: Status
    ref: str | None = None
    side: Side | None = None
    seconds: float | None = None
    note: str = ""


@dataclass
class Cell:
    """One task run: its state, times, and why it is so."""

    status: Status = Status.PENDING
    started: datetime | None = None
    finished: datetime | None = None
    attempt: int = 0
    note: str = ""
    at: datetime = EVER

    def seconds(self, now: datetime) -> float | None:
        """How long it ran, or has been running."""
        if self.started is None:
            return None
        end = self.finished if self.status is not Status.RUNNING else now
        return max(0.0, ((end or now) - self.started).total_seconds())


@dataclass
class Row:
    """One task of the run; `after` are the refs it depends on, `level` its depth in the DAG."""

    ref: str
    name: str
    after: tuple[str, ...] = ()
    level: int = 0
    sides: dict[Side, Cell] = field(default_factory=lambda: {side: Cell() for side in Side})


@dataclass
class Board:
    """A run and its tasks."""

    id: str
    name: str = ""
    status: Status = Status.PENDING
    reason: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    sequence: int = 0
    at: datetime = EVER

    def see(self, run: Json, tasks: Sequence[Json], *, states: bool = True) -> list[Change]:
        """Take a snapshot in. `states=False`: only errors and times, while events tell the states."""
        self.name = run["name"]
        self.started = moment(run.get("started_at"))
        self.finished = moment(run.get("finished_at"))
        self.reason = run.get("reason") or ""
        changes = [change for task in tasks for change in self._see_task(task, states)]
        changes.sort(key=lambda change: change.at)
        status = Status(run["status"])
        if states and status is not self.status:
            self.status = status
            self.at = self.finished or self.at
            changes.append(Change(self.finished or now(), self.name, status, note=self.reason))
        return changes

    def hear(self, event: Json) -> Change | None:
        """Take an event in; None if it isn't of this run, or known already."""
        content = event["content"]
        of_task = event["event"] == "PipelineTask"
        if (content["owner_id"] if of_task else content["instance_id"]) != self.id:
            return None
        if event["sequence"] <= self.sequence:
            return None
        self.sequence = event["sequence"]
        at = moment(event["time"]) or now()
        if of_task:
            return self._hear_task(content, at)
        status = Status(content["status"])
        if at < self.at or status is self.status:
            self.at = max(self.at, at)  # a snapshot was first
            return None
        self.at, self.status, self.name = at, status, content["name"]
        if status is Status.PROCESSING:
            self.started = self.started or at
            self._reset()
        self.finished = at if status in OVER else None
        return Change(at, self.name, status, note=self.reason if status in OVER else "")

    def _reset(self) -> None:
        """A recovery: what failed or was undone is pending again, and no event says so.

        What else runs again because of it shows with the next snapshot.
        """
        for row in self.rows.values():
            undone = row.sides[Side.UNDO].status in (Status.SUCCEEDED, Status.FAILED)
            if undone or row.sides[Side.DO].status is Status.FAILED:
                row.sides[Side.DO] = Cell()
            row.sides[Side.UNDO] = Cell()

    def _hear_task(self, content: Json, at: datetime) -> Change | None:
        row, side = self._row(content["ref"], content["name"]), Side(content["process_type"])
        cell, status = row.sides[side], Status(content["status"])
        if at < cell.at or (at == cell.at and status is cell.status):
            return None
        cell.at, cell.status = at, status
        if status is Status.RUNNING:
            cell.started, cell.finished, cell.note = at, None, ""
        else:
            cell.finished = at
        return self._change(row, side, at)

    def _see_task(self, task: Json, states: bool) -> Iterator[Change]:
        row, side = self._row(task["ref"], task["name"]), Side(task["process_type"])
        cell, status = row.sides[side], Status(task["status"])
        if not states and status is not cell.status:
            return  # its event is on the way, and what is noted now would be of the state after it
        moved = status is not cell.status
        cell.status = status
        cell.started = moment(task.get("started_at"))
        cell.finished = moment(task.get("finished_at"))
        cell.attempt = len(task.get("attempts") or ())
        cell.note = note(task)
        cell.at = max(cell.at, cell.finished or cell.started or cell.at)
        if moved:
            yield self._change(row, side, cell.finished or cell.started or now())

    def _row(self, ref: str, name: str) -> Row:
        if ref not in self.rows:
            self.rows[ref] = Row(ref, name)
        return self.rows[ref]

    def _change(self, row: Row, side: Side, at: datetime) -> Change:
        cell = row.sides[side]
        seconds = cell.seconds(at) if cell.status is not Status.RUNNING else None
        return Change(at, row.name, cell.status, row.ref, side, seconds, cell.note)

    def arrange(self, entries: Sequence[Json]) -> None:
        """Put the rows in the DAG's order, by a Pipeline's `tasks`; ignored if its refs are others.

        The run works on the definition as it was at its creation: one edited since may differ.
        """
        if {entry["ref"] for entry in entries} != self.rows.keys():
            return
        after = {entry["ref"]: tuple(entry.get("dependsOn") or ()) for entry in entries}
        levels = _levels(after)
        for ref, row in self.rows.items():
            row.after, row.level = after[ref], levels[ref]
        place = {ref: index for index, ref in enumerate(after)}
        ordered = sorted(self.rows.values(), key=lambda row: (row.level, place[row.ref]))
        self.rows = {row.ref: row for row in ordered}

    def list_rows(self, entries: Sequence[Json]) -> None:
        """Fill the board with a Pipeline's `tasks`, none of which has run."""
        for entry in entries:
            self._row(entry["ref"], entry["name"])
        self.arrange(entries)

    @property
    def at_rest(self) -> bool:
        """Whether nothing will happen any more unless somebody asks for it."""
        if self.status in OVER:
            return True
        running = any(
            cell.status is Status.RUNNING
            for row in self.rows.values()
            for cell in row.sides.values()
        )
        return self.status is Status.ABORTED and not running

    def undone(self) -> list[str]:
        """Refs whose undo succeeded, in the order in which they did."""
        ended = [
            (row.sides[Side.UNDO].finished or self.at, -row.level, row.ref)
            for row in self.rows.values()
            if row.sides[Side.UNDO].status is Status.SUCCEEDED
        ]
        # Of two in one millisecond the one further down in the DAG came first.
        return [ref for *_, ref in sorted(ended, key=lambda entry: entry[:2])]


def note(task: Json) -> str:
    """Why a task run is as it is, in one line: its error, or its reason."""
    if task["status"] == Status.FAILED and task.get("error"):
        error = task["error"]
        line = f", line {error['line']}" if error.get("line") else ""
        step = f" (step {error['step']}{line})" if error.get("step") is not None else ""
        first = str(error.get("message") or "").partition("\n")[0]
        return tame(f"{error['type']}: {first}{step}")
    return str(task.get("reason") or "")


def moment(text: str | None) -> datetime | None:
    """An RFC 3339 time of the server's."""
    return datetime.fromisoformat(text) if text else None


def now() -> datetime:
    """This moment, by the clock here."""
    return datetime.now(UTC)


def _levels(after: dict[str, tuple[str, ...]]) -> dict[str, int]:
    """The length of the longest way to each ref. The server has checked that there is no cycle."""
    levels: dict[str, int] = {}
    left = dict(after)
    while left:
        ready = [ref for ref, refs in left.items() if all(ref in levels for ref in refs)]
        if not ready:
            return dict.fromkeys(after, 0)
        for ref in ready:
            levels[ref] = 1 + max((levels[one] for one in left.pop(ref)), default=-1)
    return levels
