"""The contract's rules of a run, told a second time: what the engine's outcome is judged by.

Nothing here is taken from the engine but its words and the shape of a plan.
"""

from collections import defaultdict
from collections.abc import Mapping
from copy import copy

from xaas_core.engine.history import Change
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import Side

RUN = {
    ("pending", "processing"),
    ("pending", "cancelled"),
    ("processing", "complete"),
    ("processing", "aborted"),
    ("processing", "cancelling"),
    ("aborted", "cancelling"),
    ("aborted", "processing"),
    ("cancelling", "cancelled"),
    ("cancelling", "aborted"),
    ("complete", "cancelling"),
}

TASK = {
    ("pending", "running"),
    ("pending", "succeeded"),  # a task without steps
    ("pending", "skipped"),
    ("pending", "failed"),  # a condition that raises, a runner that can't be started
    ("running", "succeeded"),
    ("running", "failed"),
}

OPERATIONS = {
    ("pending", "run"): "processing",
    ("pending", "cancel"): "cancelled",
    ("processing", "cancel"): "cancelling",
    ("aborted", "cancel"): "cancelling",
    ("aborted", "recovery"): "processing",
    ("complete", "rollback"): "cancelling",
}

DONE = ("succeeded", "skipped")
Name = tuple[str, str]  # ref, side


class Broken(AssertionError):
    """A rule of the contract was broken."""


class Rules:
    """Hears of every change and begin, in order; raises Broken."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.run = "pending"
        self.needs = {task.ref: set(task.depends_on) for task in plan.tasks}
        self.task: dict[Name, str] = {
            (ref, side): "pending" for ref in self.needs for side in ("do", "undo")
        }
        self.open: defaultdict[str, set[int]] = defaultdict(set)  # begun, not undone since
        self.was_undone: set[str] = set()
        self.moves: set[tuple[str, str]] = set()
        self.task_moves: set[tuple[str, str]] = set()
        self.last_at = 0

    def fork(self) -> "Rules":
        """A copy that goes its own way."""
        other = copy(self)
        other.task, other.was_undone = dict(self.task), set(self.was_undone)
        other.open = defaultdict(set, {ref: set(steps) for ref, steps in self.open.items()})
        other.moves, other.task_moves = set(self.moves), set(self.task_moves)
        return other

    def owed(self, ref: str) -> list[int]:
        """Steps that are owed an undo, in the order to undo them."""
        steps = self.plan.by_ref[ref].steps
        return [i for i in sorted(self.open[ref], reverse=True) if steps[i].undo is not None]

    def users(self, ref: str) -> list[str]:
        """The dependants of `ref`."""
        return [other for other, needs in self.needs.items() if ref in needs]

    # --- what happens ---

    def begun(self, ref: str, side: Side, step: int) -> None:
        """A step's script begins."""
        self._must(self.task[ref, side] in ("pending", "running"), f"{ref} {side} begins again")
        if side is Side.DO:
            self._must(self.task[ref, "undo"] != "running", f"{ref}: do and undo overlap")
            self.open[ref].add(step)
        else:
            self._must(self.task[ref, "do"] != "running", f"{ref}: do and undo overlap")

    def intended(self, records: Mapping[tuple[str, Side], TaskRecord]) -> None:
        """Attempts were written: an undo's names exactly the steps that are owed one."""
        for (ref, side), record in records.items():
            last = record.last
            if side is Side.UNDO and last is not None and not last.over and last.stop is None:
                self._must(list(last.order) == self.owed(ref), f"undo of {ref}: {last.order}")

    def heard(self, change: Change) -> None:
        """A change was recorded."""
        self._must(change.at >= self.last_at, "time goes backwards")
        self.last_at = change.at
        if change.ref is None:
            self._run(str(change.state))
        else:
            self._task(change.ref, str(change.side), str(change.state))

    def _run(self, state: str) -> None:
        move = (self.run, state)
        self._must(move in RUN, f"run {move}")
        self.moves.add(move)
        getattr(self, f"_to_{state}")()
        self.run = state

    def _task(self, ref: str, side: str, state: str) -> None:
        move = (self.task[ref, side], state)
        self._must(move in TASK, f"{ref} {side} {move}")
        self.task_moves.add(move)
        if side == "do":
            self._do(ref, state)
        else:
            self._undo(ref, state)
        self.task[ref, side] = state

    # --- the rules ---

    def _to_processing(self) -> None:
        if self.run != "aborted":
            return
        stands: dict[str, bool] = {}

        def stand(ref: str) -> bool:
            if ref not in stands:
                kept = self.task[ref, "do"] in DONE and ref not in self.was_undone
                stands[ref] = kept and all(stand(need) for need in self.needs[ref])
            return stands[ref]

        for ref in self.needs:
            if not stand(ref) and self.task[ref, "do"] != "running":
                self.task[ref, "do"] = "pending"
            self.task[ref, "undo"] = "pending"
        self.was_undone.clear()

    def _to_complete(self) -> None:
        left = [ref for ref in self.needs if self.task[ref, "do"] not in DONE]
        self._must(not left, f"complete without {left}")

    def _to_aborted(self) -> None:
        side = "do" if self.run == "processing" else "undo"
        if side == "undo":
            failed = [ref for ref in self.needs if self.task[ref, "undo"] == "failed"]
            self._must(bool(failed), "aborted without a failed undo")
            self._must("running" not in self.task.values(), "aborted while something runs")

    def _to_cancelling(self) -> None:
        for ref in self.needs:
            if self.task[ref, "undo"] == "failed":
                self.task[ref, "undo"] = "pending"

    def _to_cancelled(self) -> None:
        self._must("running" not in self.task.values(), "cancelled while something runs")
        if self.run == "cancelling":
            left = [ref for ref in self.needs if self.owed(ref)]
            self._must(not left, f"cancelled, but {left} are owed an undo")
            undos = {self.task[ref, "undo"] for ref in self.needs}
            self._must(undos <= set(DONE), f"cancelled with undos {undos}")

    def _do(self, ref: str, state: str) -> None:
        satisfied = all(self.task[need, "do"] in DONE for need in self.needs[ref])
        if self.task[ref, "do"] == "pending":
            self._must(self.run == "processing", f"{ref} starts while the run is {self.run}")
            self._must(satisfied, f"{ref} starts before its dependencies")
        if state == "succeeded" and self.task[ref, "do"] == "pending":
            self._must(not self.plan.by_ref[ref].steps, f"{ref} succeeds without running")

    def _undo(self, ref: str, state: str) -> None:
        self._must(self.run == "cancelling", f"undo of {ref} while the run is {self.run}")
        if self.task[ref, "undo"] == "pending":
            self._must(self.task[ref, "do"] != "running", f"undo of {ref}: its do runs")
            open_ = [u for u in self.users(ref) if self.task[u, "undo"] not in DONE]
            self._must(not open_, f"undo of {ref} before those of {open_}")
        if state == "running":
            failed = [r for r in self.needs if self.task[r, "undo"] == "failed"]
            self._must(not failed, f"undo of {ref} starts after a failure")
        if state == "skipped":
            self._must(not self.owed(ref), f"{ref} is owed an undo of {self.owed(ref)}")
        else:
            self._must(bool(self.owed(ref)), f"{ref} isn't owed an undo")
            self.was_undone.add(ref)
        if state == "succeeded":
            self.open[ref].clear()

    def _must(self, holds: bool, text: str) -> None:
        if not holds:
            raise Broken(text)
