"""One run, as a test holds it: operations, waits, and the whole story when something is wrong."""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

from tests.conformance.kit import oracle
from tests.conformance.kit.events import EventLog, Message
from tests.conformance.kit.oracle import Planned
from tests.conformance.kit.rest import Rest, names, path

OVER = ("complete", "cancelled")
# What a PATCH may answer: the state that the operation leads to, or one that it passed through since.
SHOWS = {
    "run": {"processing", "complete", "aborted", "cancelling", "cancelled"},
    "recovery": {"processing", "complete", "aborted", "cancelling", "cancelled"},
    "cancel": {"cancelling", "cancelled", "aborted"},
    "rollback": {"cancelling", "cancelled", "aborted"},
}


class Run:
    def __init__(self, rest: Rest, log: EventLog, run_id: str, planned: Planned) -> None:
        self.rest = rest
        self.log = log
        self.id = run_id
        self.planned = planned
        self.patience = rest.patience
        self.deleted = False

    # ---------------------------------------------------------------------------------- requests

    def get(self) -> Any:
        return self.rest.get("pipelineruns", self.id)

    def status(self) -> str:
        return str(self.get()["status"])

    def operate(self, operation: str) -> Any:
        """An operation that must be accepted; the answer shows the new state."""
        answer = self.patch({"operation": operation}, 202).json()
        assert answer["status"] in SHOWS[operation], f"{operation} answered {answer}"
        return answer

    def refuse(self, operation: str) -> dict[str, Any]:
        """An operation that must be refused as a conflict, naming the state and what it allows."""
        state = self.status()
        refusal = self.rest.refuse(
            "PATCH", path("pipelineruns", self.id), 409, json={"operation": operation}
        )
        names(refusal, state, *oracle.OPERATIONS[state])
        return refusal

    def suspend(self, value: bool) -> Any:
        return self.patch({"suspend": value}, 202).json()

    def patch(self, body: Any, expect: int) -> Any:
        return self.rest.call("PATCH", path("pipelineruns", self.id), expect, json=body)

    def tasks(self) -> dict[tuple[str, str], Any]:
        """All task runs by (ref, process type)."""
        items = self.rest.get("pipelineruns", self.id, "tasks")["items"]
        found = {(item["ref"], item["process_type"]): item for item in items}
        assert len(found) == len(items), f"task runs are listed twice: {items}"
        return found

    def task(self, ref: str, side: str = "do") -> Any:
        return self.rest.get("pipelineruns", self.id, "tasks", ref, side)

    def states(self, side: str = "do") -> dict[str, str]:
        """`{ref: status}` of one side."""
        return {ref: task["status"] for (ref, of), task in self.tasks().items() if of == side}

    def logs(self, ref: str, side: str = "do", **params: Any) -> str:
        url = path("pipelineruns", self.id, "tasks", ref, side, "logs")
        return self.rest.call("GET", url, 200, params=params).text

    def delete(self) -> None:
        self.rest.delete("pipelineruns", self.id)
        self.deleted = True

    def force(self) -> None:
        """Remove it in whatever state; it may be there a little longer, allowing nothing."""
        self.rest.delete("pipelineruns", self.id, expect=202, force="true")
        self.deleted = True

    # ------------------------------------------------------------------------------------- waits

    def wait(self, *states: str) -> Any:
        """Until a GET shows one of the states; fails at once when it can't come any more."""
        found: Any = None

        def there() -> bool:
            nonlocal found
            found = self.get()
            over = found["status"] in OVER and not set(states) & set(OVER)
            assert not over, f"{self.id} is {found['status']}, and will not be {states}"
            return found["status"] in states

        self.until(there, f"the run is {' or '.join(states)}")
        return found

    def wait_task(self, ref: str, side: str, *states: str) -> Any:
        """Until a GET shows the task run in one of the states."""
        self.until(lambda: self.task(ref, side)["status"] in states, f"{ref} {side} is {states}")
        return self.task(ref, side)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Poll, but look again at once when a notification comes."""
        came = self._poll(condition, self.patience.wait)
        assert came, f"waited {self.patience.wait:.0f} s in vain until {what}"

    def _poll(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.log.nap(self.patience.pause)
        return True

    # ----------------------------------------------------------------------------- notifications

    def messages(self) -> list[Message]:
        return self.log.of(self.id)

    def briefs(self) -> list[str]:
        """What was notified: `["run processing", "a do running", ...]`."""
        return [message.brief for message in self.messages()]

    def wait_message(self, brief: str, times: int = 1) -> None:
        came = self.log.wait(lambda: self.briefs().count(brief) >= times, self.patience.wait)
        assert came, f"{brief!r} was notified {self.briefs().count(brief)} times, not {times}"

    def assert_legal(self) -> None:
        """Everything notified so far is legal, and agrees with what a GET shows."""
        if self.deleted or self.rest.gone("pipelineruns", self.id):
            broken = oracle.violations(self.id, self.planned, self.messages())
            assert not broken, "notifications break the contract:\n  " + "\n  ".join(broken)
            return
        agrees = self._poll(lambda: not self.differences(), self.patience.wait / 4)
        broken = oracle.violations(self.id, self.planned, self.messages())
        if not agrees:
            broken += self.differences()
        broken += oracle.shape_of_run(self.get())
        for task in self.tasks().values():
            broken += oracle.shape_of_task_run(task)
        broken += self._members()
        broken += [f"the stream of events: {trouble}" for trouble in self.log.troubles]
        assert not broken, "the contract is broken:\n  " + "\n  ".join(broken)

    def differences(self) -> list[str]:
        """Where the last notifications and the present state disagree."""
        told: dict[str, str] = {"run": "pending"}
        for message in self.messages():
            subject, _, state = message.brief.rpartition(" ")
            told[subject] = state
        shown = {"run": self.status()} | {
            f"{ref} {side}": task["status"] for (ref, side), task in self.tasks().items()
        }
        return [
            f"{subject} is {state}, but {told.get(subject)} was notified last"
            for subject, state in shown.items()
            if state != "pending" and told.get(subject) != state
        ]

    def _members(self) -> list[str]:
        tasks, nodes = self.tasks(), self.planned.nodes
        wanted = {(ref, side) for ref in nodes for side in ("do", "undo")}
        broken = [] if set(tasks) == wanted else [f"both sides of each task: {sorted(tasks)}"]
        ids = {task["instance_id"] for task in tasks.values()} | {self.id}
        if len(ids) != len(tasks) + 1:
            broken.append("instance ids are unique")
        if any(task["owner_id"] != self.id for task in tasks.values()):
            broken.append("owner_id is the run's instance_id")
        return broken

    # ------------------------------------------------------------------------------------- story

    def story(self) -> str:
        """Everything known about the run, for a failed test's report."""
        lines = [f"run {self.id} of {self.planned.pipeline!r} {self.planned.fields}"]
        lines += self._attempt("run", lambda: [json.dumps(self.get(), ensure_ascii=False)])
        lines += self._attempt("tasks", self._task_lines)
        lines.append("notifications:")
        for message in self.messages():
            body = message.body
            runner = message.content.get("runner_id", "")
            lines.append(f"  #{body.get('sequence')} {body.get('time')} {message.brief} {runner}")
        lines += self._attempt("logs", self._log_lines)
        return "\n".join(lines)

    def _task_lines(self) -> Iterable[str]:
        for (ref, side), task in self.tasks().items():
            if task["status"] != "pending":
                told = {k: v for k, v in task.items() if k not in {"ref", "process_type", "name"}}
                yield f"  {ref} {side}: {json.dumps(told, ensure_ascii=False)[:1500]}"

    def _log_lines(self) -> Iterable[str]:
        for (ref, side), task in self.tasks().items():
            if task["attempts"]:
                url = path("pipelineruns", self.id, "tasks", ref, side, "logs")
                text = self.rest.send("GET", url).text[:1500]
                if text.strip():
                    yield f"  {ref} {side}:"
                    yield from (f"    {line}" for line in text.splitlines())

    @staticmethod
    def _attempt(what: str, tell: Any) -> list[str]:
        """A report mustn't fail because the product does."""
        try:
            return [f"{what}:", *tell()]
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told)
            return [f"{what}: can't be told: {error}"]
