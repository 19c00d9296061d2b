"""The contract as a judge of one run's notifications.

`violations` replays the messages of a run against the tables of states, knowing nothing but the
pipeline and the run's own fields, and lists every sentence of the contract that they break. It never
says how a run must go, only which ways are illegal; what should have happened is the test's business.
"""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.kit.events import Message
from tests.conformance.kit.plan import Nodes, dependants, order
from tests.conformance.kit.rest import RFC3339

RUN_MOVES = {
    "pending": {"processing", "cancelled"},
    "processing": {"complete", "aborted", "cancelling"},
    "aborted": {"cancelling", "processing"},
    "cancelling": {"cancelled", "aborted"},
    "complete": {"cancelling"},
    "cancelled": set[str](),
}
TASK_MOVES = {
    "pending": {"running", "skipped", "failed"},
    "running": {"succeeded", "failed"},
    "succeeded": set[str](),
    "failed": set[str](),
    "skipped": set[str](),
}
PASSED = {"succeeded", "skipped"}
MESSAGE = {"event", "content", "id", "time", "sequence"}
RUN_CONTENT = {"instance_id", "name", "status"}
TASK_CONTENT = {
    "instance_id", "process_type", "ref", "name", "owner_id", "runner_id", "status",
}  # fmt: skip


@dataclass(frozen=True)
class Planned:
    """What is known of a run beforehand: its pipeline, the names of its tasks, its own fields."""

    pipeline: str
    nodes: Nodes
    tasks: dict[str, str]
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def rolls_back(self) -> bool:
        return bool(self.fields.get("autoRollback", True))


class Replay:
    """The run as its messages tell it. `broken` lists what they break."""

    def __init__(self, run: str, planned: Planned) -> None:
        self.run = run
        self.planned = planned
        self.dependants = dependants(planned.nodes)
        self.state = "pending"
        self.do = dict.fromkeys(planned.nodes, "pending")
        self.undo = dict.fromkeys(planned.nodes, "pending")
        self.began = dict.fromkeys(planned.nodes, False)
        self.ids: dict[tuple[str, str], str] = {}
        self.broken: list[str] = []
        self.last_number = 0
        self.must_cancel = False  # the next message must be the run's `cancelling`
        self._at = ""

    def check(self, legal: bool, law: str) -> None:
        if not legal:
            self.broken.append(f"{self._at}: {law}")

    def play(self, message: Message) -> None:
        self._at = f"#{message.body.get('sequence')} {message.brief}"
        self._shape(message)
        if self.must_cancel:
            self.check(
                message.brief == "run cancelling",
                "an abort that rolls back by itself is one write: `cancelling` comes next",
            )
            self.must_cancel = False
        if message.event == "Pipeline":
            self._run(str(message.content.get("status")))
        elif message.content.get("ref") in self.do:
            self._task(message.content)

    # ------------------------------------------------------------------------------------- shape

    def _shape(self, message: Message) -> None:
        body, content = message.body, message.content
        self.check(set(body) == MESSAGE, f"a message has {sorted(MESSAGE)}, not {sorted(body)}")
        number = body.get("sequence")
        self.check(
            number == self.last_number + 1,
            f"sequence goes from 1 without gaps: {number} after {self.last_number}",
        )
        self.last_number = number if isinstance(number, int) else self.last_number + 1
        time = str(body.get("time"))
        self.check(bool(RFC3339.fullmatch(time)), f"time in RFC 3339, UTC, with ms, not {time}")
        self.check(bool(message.cursor), "SSE's id is there, to resume from")
        if message.event == "Pipeline":
            self.check(set(content) == RUN_CONTENT, f"content has {sorted(RUN_CONTENT)}: {content}")
            self.check(content.get("name") == self.planned.pipeline, "name is the pipeline's")
            return
        self.check(message.event == "PipelineTask", "event is Pipeline or PipelineTask")
        self.check(set(content) == TASK_CONTENT, f"content has {sorted(TASK_CONTENT)}: {content}")
        ref, side = str(content.get("ref")), str(content.get("process_type"))
        self.check(ref in self.do, f"ref is one of the pipeline's: {ref}")
        self.check(side in {"do", "undo"}, f"process_type is do or undo: {side}")
        self.check(content.get("name") == self.planned.tasks.get(ref), "name is the task's")
        instance = str(content.get("instance_id"))
        self.check(
            self.ids.setdefault((ref, side), instance) == instance
            and list(self.ids.values()).count(instance) == 1,
            "each task run has one instance_id of its own",
        )
        if content.get("status") == "running":
            self.check(bool(content.get("runner_id")), "what runs has a runner_id")
        if content.get("status") == "skipped":
            self.check(content.get("runner_id") is None, "runner_id is null where none ran")

    # --------------------------------------------------------------------------------------- run

    def _run(self, to: str) -> None:
        self.check(
            to in RUN_MOVES.get(self.state, set()), f"no move of a run: {self.state} -> {to}"
        )
        came_from, self.state = self.state, to
        do, undo = self.do.values(), self.undo.values()
        if to == "complete":
            self.check(set(do) <= PASSED, f"complete when every do passed: {self.do}")
        elif to == "aborted" and came_from == "processing":
            cause = "failed" in do or "timeout" in self.planned.fields
            self.check(cause, "aborted by a failed do or the run's timeout: the cause comes first")
            self.must_cancel = self.planned.rolls_back
        elif to == "aborted":
            self.check("failed" in undo, "aborted on the way back by a failed undo: it comes first")
            self.check(
                "running" not in undo and "running" not in do,
                "aborted on the way back only when those running are over",
            )
        elif to == "cancelling":
            for ref, state in self.undo.items():
                self.undo[ref] = "pending" if state == "failed" else state
        elif to == "cancelled" and came_from == "cancelling":
            self.check("running" not in do, f"cancelled when no do runs: {self.do}")
            self.check(set(undo) <= PASSED, f"cancelled when every undo is over: {self.undo}")
        elif to == "processing" and came_from == "aborted":
            self._recover()

    def _recover(self) -> None:
        """What stands is kept; the rest, and all undos, return to pending."""
        kept: set[str] = set()
        for ref in order(self.planned.nodes):
            if self.do[ref] == "running":
                continue  # it never stopped: it neither stands nor can it begin again
            undone = self.undo[ref] in {"succeeded", "failed"}
            dependencies_stand = set(self.planned.nodes[ref].after) <= kept
            if self.do[ref] in PASSED and not undone and dependencies_stand:
                kept.add(ref)
            else:
                self.do[ref] = "pending"
        self.undo = dict.fromkeys(self.undo, "pending")

    # ------------------------------------------------------------------------------------- tasks

    def _task(self, content: dict[str, Any]) -> None:
        ref, to = str(content["ref"]), str(content.get("status"))
        is_do = content.get("process_type") == "do"
        side = self.do if is_do else self.undo
        was, without_steps = side[ref], not self.planned.nodes[ref].steps
        legal = to in TASK_MOVES[was] or (without_steps and (was, to) == ("pending", "succeeded"))
        self.check(legal, f"no move of a task run: {was} -> {to}")
        if was == "pending" and is_do:
            self._do_starts(ref)
        elif was == "pending":
            self._undo_starts(ref, to)
        side[ref] = to
        if is_do and to == "running":
            self.began[ref] = True
        if not is_do and to == "succeeded":
            self.began[ref] = False

    def _do_starts(self, ref: str) -> None:
        self.check(self.state == "processing", f"no do starts while the run is {self.state}")
        after = {d: self.do[d] for d in self.planned.nodes[ref].after}
        self.check(set(after.values()) <= PASSED, f"a do starts after its dependencies: {after}")

    def _undo_starts(self, ref: str, to: str) -> None:
        self.check(self.state == "cancelling", f"no undo starts while the run is {self.state}")
        self.check(self.do[ref] != "running", "a do and its undo never overlap")
        before = {d: self.undo[d] for d in self.dependants[ref]}
        self.check(
            set(before.values()) <= PASSED, f"an undo starts after its dependants': {before}"
        )
        steps = self.planned.nodes[ref].steps
        if to == "running":
            self.check("failed" not in self.undo.values(), "no undo starts once one has failed")
            self.check(
                any(step.undo for step in steps), "nothing to undo: no step has an undoScript"
            )
            # `failed` without `running` may be a start that can't be ruled out: it counts as begun.
            began = self.began[ref] or self.do[ref] == "failed"
            self.check(began, "an undo runs only where a step of the do began")
        if to == "skipped" and self.began[ref]:
            self.check(not (steps and steps[0].undo), "an undo that is owed isn't skipped")


def violations(run: str, planned: Planned, messages: Sequence[Message]) -> list[str]:
    """Every break of the contract in the run's messages so far; empty if there is none."""
    replay = Replay(run, planned)
    for message in messages:
        replay.play(message)
    return replay.broken


def _fields(what: str, wanted: Set[str], shown: Mapping[str, Any]) -> list[str]:
    """What is missing, and what is there beside the contract."""
    missing = [f"{what} has {key}" for key in sorted(wanted - shown.keys())]
    return missing + [f"{what} has no {key}" for key in sorted(shown.keys() - wanted)]


def shape_of_run(run: dict[str, Any]) -> list[str]:
    """What of a run's representation isn't as the contract has it."""
    keys = {
        "instance_id", "resource_name", "name", "status", "parameters", "reason", "warnings",
        "created_at", "started_at", "finished_at", "operations", "tasks",
    }  # fmt: skip
    counts = {"total", "pending", "running", "succeeded", "failed", "skipped"}
    broken = _fields("a run", keys, run)
    tasks = run.get("tasks")
    if not isinstance(tasks, dict) or set(tasks) != counts:
        broken.append(f"tasks counts {sorted(counts)}: {tasks}")
    elif sum(tasks.values()) != 2 * tasks["total"]:
        broken.append(f"the counts of tasks sum up to total: {tasks}")
    allowed = OPERATIONS.get(str(run.get("status")))
    if allowed is None or sorted(run.get("operations", [])) != sorted(allowed):
        broken.append(f"{run.get('status')} allows {allowed}, not {run.get('operations')}")
    return broken + times_of(run, "created_at", "started_at", "finished_at")


def shape_of_task_run(task: dict[str, Any]) -> list[str]:
    """What of a task run's representation isn't as the contract has it."""
    keys = {
        "instance_id", "ref", "name", "process_type", "owner_id", "runner_id", "status", "reason",
        "error", "input", "delta", "attempts", "steps", "started_at", "finished_at",
    }  # fmt: skip
    broken = _fields("a task run", keys, task)
    numbers = [attempt.get("number") for attempt in task.get("attempts", [])]
    if numbers != list(range(1, len(numbers) + 1)):
        broken.append(f"attempts count from 1: {numbers}")
    for attempt in task.get("attempts", []):
        keys = {"number", "runner_id", "status", "started_at", "finished_at", "error"}
        broken += _fields("an attempt", keys, attempt)
        broken += times_of(attempt, "started_at", "finished_at")
    for index, step in enumerate(task.get("steps", [])):
        keys = {"index", "status", "started_at", "finished_at"}
        broken += _fields("a step", keys, step)
        broken += times_of(step, "started_at", "finished_at")
        if step.get("index") != index:
            broken.append(f"steps are counted from 0: {step}")
    if task.get("error") is not None:
        keys = {"type", "message", "step", "line", "traceback"}
        broken += _fields("an error", keys, task["error"])
    where = f"{task.get('ref')} {task.get('process_type')}: "
    return [where + law for law in broken + times_of(task, "started_at", "finished_at")]


OPERATIONS = {
    "pending": ["run", "cancel"],
    "processing": ["cancel"],
    "aborted": ["cancel", "recovery"],
    "cancelling": [],
    "complete": ["rollback"],
    "cancelled": [],
}


def times_of(thing: dict[str, Any], *keys: str) -> list[str]:
    values = {key: thing.get(key) for key in keys}
    return [
        f"{key} is RFC 3339 in UTC with milliseconds: {value}"
        for key, value in values.items()
        if value is not None and not re.fullmatch(RFC3339, str(value))
    ]
