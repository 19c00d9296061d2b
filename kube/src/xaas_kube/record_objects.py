"""PipelineTaskRuns: what is recorded of task runs, as custom resources.

They have no status subresource: nobody but the product writes them, so one write makes an intent
durable, with its labels, and one write replaces it.

A record is shown field by field, in the words of Kubernetes (`begunAt`, not `begun_at`). What scripts
changed in `params` is kept as JSON text: it must come back as it was, 1.0 as 1.0, in its own order.
"""

import base64
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any, Final

from xaas_core.codec import Codec
from xaas_core.engine.facts import Key
from xaas_core.engine.history import Change
from xaas_core.engine.records import Attempt, TaskRecord
from xaas_core.engine.states import ENDED, Side, TaskState
from xaas_core.names import instance_id
from xaas_kube import times
from xaas_kube.client import Json
from xaas_kube.conditions import condition
from xaas_kube.names import task_run_name
from xaas_kube.words import API_VERSION, MANAGER, Annotation, Label

_RECORD: Final = Codec(TaskRecord)

_LONG: Final = 32 * 1024
"""Characters of a delta from which on it is compressed: as text in JSON it could grow twofold."""

_COMPRESSED: Final = "zlib:"


def owner(run: Json, *, blocks: bool = False) -> Json:
    """The reference by which what belongs to a run is removed with it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "PipelineRun",
        "name": run["metadata"]["name"],
        "uid": run["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": blocks,
    }


def new(run: Json, task: str, record: TaskRecord, change: Change | None) -> Json:
    """The object of a new record; `task` is its PipelineTask's name."""
    metadata = run["metadata"]
    return {
        "apiVersion": API_VERSION,
        "kind": "PipelineTaskRun",
        "metadata": {
            "name": task_run_name(metadata["name"], metadata["uid"], record.ref, record.side),
            "namespace": metadata["namespace"],
            "labels": {
                Label.RUN.value: metadata["uid"],
                Label.SIDE.value: record.side.value,
                Label.MANAGED_BY.value: MANAGER,
            },
            "annotations": {
                Annotation.INSTANCE.value: instance_id(metadata["uid"], record.ref, record.side)
            },
            "ownerReferences": [owner(run)],
        },
        "spec": {
            "run": {"name": metadata["name"], "uid": metadata["uid"]},
            "ref": record.ref,
            "processType": record.side.value,
            "task": task,
        },
        "status": status(record, change, {}),
    }


def key_of(item: Json) -> Key:
    """Which task run of its run an object is about."""
    spec = item["spec"]
    return (spec["ref"], Side(spec["processType"]))


def status(record: TaskRecord, change: Change | None, before: Mapping[str, Any]) -> Json:
    """A record as a status; `change` is the change of state that follows from it, if one does."""
    held = json.loads(_RECORD.encode(record))
    attempts = [_attempt_out(each) for each in held.get("attempts", ())]
    last = record.last
    state = change.state if change is not None else _state(record, before)
    at = change.at if change is not None else _succeeded_at(last)
    ended = state in ENDED
    shown: dict[str, Any] = {
        "state": str(state),
        "reason": str(change.reason) if change is not None else before.get("reason", ""),
        "attempts": attempts,
    }
    if "verdict" in held:
        shown["verdict"] = _renamed(held["verdict"], _to_camel)
    failure = last.failure if last is not None else None
    if failure is None and record.verdict is not None:
        failure = record.verdict.failure
    if failure is not None:
        shown["message"] = failure.message
    elif last is not None and last.trouble and not last.begun:
        shown["message"] = last.trouble
    begun = [attempt for attempt in record.attempts if attempt.begun]
    if begun:
        shown["startedAt"] = times.shown(begun[0].steps[0].begun_at)
    if ended and at is not None:
        shown["finishedAt"] = times.shown(at)
    elif ended and "finishedAt" in before:
        shown["finishedAt"] = before["finishedAt"]
    since = at if at is not None else _since(record)
    shown["conditions"] = [
        condition(
            "Succeeded",
            _truth(state),
            shown["reason"] or str(state),
            shown.get("message", ""),
            since,
        )
    ]
    return shown


def _state(record: TaskRecord, before: Mapping[str, Any]) -> TaskState:
    """The state to show between two changes: what a runner reports is written before its change."""
    last = record.last
    if _succeeded_at(last) is not None:
        return TaskState.SUCCEEDED  # nothing else can become of it
    shown = before.get("state")
    if last is None or last.over or (shown == TaskState.RUNNING and last.begun):
        return TaskState(shown) if shown else TaskState.PENDING
    if last.begun or any(a.begun and a.round == last.round for a in record.attempts):
        return TaskState.RUNNING
    return TaskState.PENDING


def _succeeded_at(attempt: Attempt | None) -> int | None:
    """When an attempt has succeeded, which its last step's end says."""
    return attempt.ended_at if attempt is not None and attempt.succeeded else None


def _since(record: TaskRecord) -> int:
    last = record.last
    if last is None:
        return 0
    return last.steps[0].begun_at if last.begun else last.decided_at


def _truth(state: str) -> str:
    if state in (TaskState.SUCCEEDED, TaskState.SKIPPED):
        return "True"
    return "False" if state == TaskState.FAILED else "Unknown"


def read(item: Json) -> TaskRecord:
    """The record that an object holds. Raises ValueError, KeyError or TypeError if it doesn't."""
    ref, side = key_of(item)
    shown = item.get("status") or {}
    held: dict[str, Any] = {"ref": ref, "side": side.value}
    if "verdict" in shown:
        held["verdict"] = _renamed(shown["verdict"], _to_snake)
    held["attempts"] = [_attempt_in(each) for each in shown.get("attempts", ())]
    return _RECORD.decode(json.dumps(held))


def _attempt_out(attempt: Json) -> Json:
    steps = [
        {**step, "delta": _packed(step["delta"])} if "delta" in step else step
        for step in attempt.get("steps", ())
    ]
    shown: Json = _renamed({**attempt, "steps": steps} if steps else attempt, _to_camel)
    return shown


def _attempt_in(attempt: Json) -> Json:
    held: Json = _renamed(attempt, _to_snake)
    for step in held.get("steps", ()):
        if "delta" in step:
            step["delta"] = _unpacked(step["delta"])
    return held


def _packed(delta: Any) -> str:
    text = json.dumps(delta, separators=(",", ":"), ensure_ascii=False)
    if len(text) < _LONG and not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    data = json.dumps(delta, separators=(",", ":")).encode()
    return _COMPRESSED + base64.b64encode(zlib.compress(data, 6)).decode()


def _unpacked(text: str) -> Any:
    if text.startswith(_COMPRESSED):
        return json.loads(zlib.decompress(base64.b64decode(text.removeprefix(_COMPRESSED))))
    return json.loads(text)


def _renamed(value: Any, rename: Any) -> Any:
    """`value` with its keys renamed, all the way down. Deltas are text, and so left as they are."""
    if isinstance(value, dict):
        return {rename(key): _renamed(held, rename) for key, held in value.items()}
    return [_renamed(held, rename) for held in value] if isinstance(value, list) else value


def _to_camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _to_snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)
