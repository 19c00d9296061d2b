"""Kubernetes Events: what `kubectl describe` tells of a run, so that a failure is understood without
its logs.

Each is named after the change that it tells of, so it is told once, whoever leads. They are a courtesy:
a change that isn't told here is in the run's log all the same.
"""

import logging
from typing import Any, Final

from xaas_core.engine.history import Change
from xaas_core.engine.records import Failure
from xaas_core.engine.states import RunState, TaskState
from xaas_core.names import event_id
from xaas_core.notices import rfc3339
from xaas_core.ports import Clock, Logged, Part, StoreError
from xaas_kube.client import ApiError, Json, KubeClient, Unreachable
from xaas_kube.feed import Cursor
from xaas_kube.store import KubernetesStore
from xaas_kube.words import API_VERSION, MANAGER

BATCH: Final = 200
LONGEST: Final = 1000
"""Characters of a message: the API server takes 1024."""

log = logging.getLogger(__name__)


class EventRecorder:
    """Tells of every change of a run, and of every task run that failed. `run` it as a task."""

    def __init__(self, client: KubeClient, store: KubernetesStore, clock: Clock) -> None:
        self._client = client
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Tell what happens from now on, until cancelled; and first what whoever led before may have
        recorded at its end, and not told any more: a cursor of a time reaches back (`feed.SLACK`)."""
        touches = self._store.touches()
        cursor = await self._tell_after(str(Cursor("l", self._clock.now())))
        async for touch in touches:
            if touch.part is Part.STATUS:
                cursor = await self._tell_after(cursor)

    async def _tell_after(self, cursor: str) -> str:
        """Tell of all changes after `cursor`; the answer is the cursor of the last one."""
        try:
            while found := await self._store.changes(cursor, BATCH):
                for logged in found:
                    await self._tell(logged)
                cursor = found[-1].cursor
        except StoreError as error:
            log.warning("events can't be told yet: %s", error)
        return cursor

    async def _tell(self, logged: Logged) -> None:
        place = self._store.place(logged.run)  # a run that is over may be put aside already
        if place is None:
            return
        try:
            reason, message, is_bad = await self._said(logged.run, logged.change)
        except StoreError as error:
            log.warning("an event of run %s can't be told: %s", logged.run, error)
            return
        if not reason:
            return
        try:
            await self._client.create(
                f"/api/v1/namespaces/{place[0]}/events",
                _event(place, logged, reason, message, is_bad=is_bad),
            )
        except ApiError as error:
            if error.code not in (403, 404, 409):  # told already; or the namespace is going
                log.warning("an event of run %s can't be told: %s", logged.run, error)
        except Unreachable as error:
            log.warning("an event of run %s can't be told: %s", logged.run, error)

    async def _said(self, run: str, change: Change) -> tuple[str, str, bool]:
        """Reason and message of a change, and whether it is a warning; no reason: nothing."""
        if change.ref is None or change.side is None:
            word = change.state.value.capitalize()
            message = change.message or f"the run is {change.state}"
            return word, message, change.state is RunState.ABORTED
        if change.state is not TaskState.FAILED:
            return "", "", False
        key = (change.ref, change.side)
        stored = (await self._store.records(run, [key])).get(key)
        last = stored.value.last if stored is not None else None
        failure = last.failure if last is not None else None
        if failure is None and stored is not None and stored.value.verdict is not None:
            failure = stored.value.verdict.failure
        what = "undo of task" if change.side == "undo" else "task"
        return "TaskFailed", f"{what} {change.ref!r} failed: {_why(change, failure)}", True


def _why(change: Change, failure: Failure | None) -> str:
    if failure is None:
        return change.reason.value
    place = "" if failure.step is None else f"step {failure.step}"
    if failure.line is not None:
        place += f", line {failure.line}"
    told = f"{failure.type}: {failure.message}" if failure.message else failure.type
    return f"{place}: {told}" if place else told


def _event(
    place: tuple[str, str], logged: Logged, reason: str, message: str, *, is_bad: bool
) -> Json:
    namespace, run = place
    at = rfc3339(logged.change.at)
    event: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{run[:200].rstrip('-.')}.{event_id(logged.run, logged.sequence)[:18]}",
            "namespace": namespace,
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "PipelineRun",
            "name": run,
            "namespace": namespace,
            "uid": logged.run,
        },
        "reason": reason,
        "message": message[:LONGEST],
        "type": "Warning" if is_bad else "Normal",
        "count": 1,
        "firstTimestamp": at[:-5] + "Z",
        "lastTimestamp": at[:-5] + "Z",
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
    }
    return event
