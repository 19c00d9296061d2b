"""PipelineRuns as custom resources.

The log of a run, `status.log`, is its history: one text for each change of state, a JSON array

    [written, at, state, ref, side, attempt, launch, reason, message]

without what is empty at its end. `written` is when it was recorded, in milliseconds since 1970, and
`at` when it happened, in milliseconds after `written` (mostly 0, or less).
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from xaas_core.engine.facts import Reply, Request
from xaas_core.engine.history import Change
from xaas_core.engine.states import OVER, Operation, Reason, RunState, Side, TaskState
from xaas_core.models.objects import Meta, Run, RunStatus, RunWarning, Summary
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_kube import exact, times
from xaas_kube.client import Json
from xaas_kube.conditions import condition, kept
from xaas_kube.definition_objects import created, problems
from xaas_kube.words import API_VERSION, FINALIZER, Annotation, Label

_RUN_STATES: Final = {state.value: state for state in RunState}
_TASK_STATES: Final = {state.value: state for state in TaskState}
_SIDES: Final = {side.value: side for side in Side} | {"": None}
_REASONS: Final = {reason.value: reason for reason in Reason}


@dataclass(frozen=True)
class Written:
    """A change as it was logged. `at`: when it was recorded, in milliseconds since 1970."""

    at: int
    change: Change


def new(namespace: str, name: str, spec: PipelineRunSpec, target: Target) -> Json:
    """A run's object, to be created. The finalizer: nothing of it starts that isn't stopped."""
    written = spec.as_written()
    annotations = {}
    text = exact.text_if_changed(written["parameters"])
    if text is not None:
        annotations[Annotation.WRITTEN.value] = text
    return {
        "apiVersion": API_VERSION,
        "kind": "PipelineRun",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {Label.TARGET.value: target.value} if target is Target.TASK else {},
            "annotations": annotations,
            "finalizers": [FINALIZER],
        },
        "spec": written,
    }


def operation(request: Request) -> Json:
    """A request as `spec.operation`."""
    return {"name": request.operation.value, "id": request.id}


def asked(item: Json) -> list[str]:
    """Ids of the operations that were ever asked for, as far as they are remembered."""
    text = (item["metadata"].get("annotations") or {}).get(Annotation.ASKED, "")
    now = (item.get("spec") or {}).get("operation")
    return [*text.split(), *([str(now.get("id"))] if now else [])]


def finalizers_of_others(item: Json) -> list[str]:
    """Who else holds on to a run's object: theirs aren't ours to take off."""
    return [each for each in item["metadata"].get("finalizers") or () if each != FINALIZER]


def target_of(item: Json) -> Target:
    """What a run executes."""
    labels = item["metadata"].get("labels") or {}
    return Target.TASK if labels.get(Label.TARGET) == Target.TASK else Target.PIPELINE


def read(item: Json, *, history: bool = True) -> Run:
    """The run that an object holds. One that isn't valid says so in `problem`."""
    spec, problem = _spec(item)
    shown = item.get("status") or {}
    changes = tuple(each.change for each in log(shown.get("log") or ())) if history else ()
    return Run(
        _meta(item),
        spec,
        target_of(item),
        _request(item),
        status_in(shown),
        changes,
        problem,
        unseen=bool(shown)
        and shown.get("observedGeneration") != item["metadata"].get("generation"),
    )


def _meta(item: Json) -> Meta:
    meta = item["metadata"]
    at = times.read(created(item))
    assert at is not None
    return Meta(
        uid=meta["uid"],
        namespace=meta["namespace"],
        resource_version=meta["resourceVersion"],
        created_at=at,
        resource_name=meta["name"],
        deleting="deletionTimestamp" in meta,
    )


def _spec(item: Json) -> tuple[PipelineRunSpec, str]:
    written = {key: held for key, held in item["spec"].items() if key != "operation"}
    text = (item["metadata"].get("annotations") or {}).get(Annotation.WRITTEN)
    if "parameters" in written:
        written["parameters"] = exact.exactly(written["parameters"], text)
    try:
        return PipelineRunSpec.model_validate(written), ""
    except ValidationError as error:
        name = str(written.get("name") or item["metadata"]["name"])
        return PipelineRunSpec.model_construct(name=name, parameters={}), problems(error)


def _request(item: Json) -> Request | None:
    asked_for = item["spec"].get("operation")
    if not asked_for:
        return None
    try:
        return Request(str(asked_for["id"]), Operation(asked_for["name"]))
    except (KeyError, ValueError):
        return None


# ------------------------------------------------------------------------------------------ status


def status_out(status: RunStatus, generation: int, at: int) -> Json:
    """A status but for its log; `at`: since when its condition holds, in milliseconds."""
    summary = status.summary
    counts = dict(summary.counts)
    done = counts.get("succeeded", 0) + counts.get("skipped", 0)
    shown: Json = {
        "observedGeneration": generation,
        "state": summary.state.value,
        "reason": summary.reason.value,
        "message": summary.message,
        "startedAt": times.shown(summary.started_at),
        "finishedAt": times.shown(summary.finished_at),
        "tasks": counts,
        "progress": f"{done}/{counts.get('total', 0)}" if counts else None,
        "planned": status.planned,
        "operation": _reply_out(status.reply) if status.reply is not None else None,
        "earlierOperations": [_reply_out(reply) for reply in status.earlier] or None,
        "warnings": [
            {"type": w.type, "message": w.message, "path": list(w.path), "refs": list(w.refs)}
            for w in status.warnings
        ],
        "conditions": [_succeeded(summary, at)],
    }
    return {key: held for key, held in shown.items() if held is not None}


def status_patch(
    shown: Json, texts: Sequence[str], before: Collection[str], conditions: Any
) -> list[Json]:
    """A JSON patch to what is `shown`, and `texts` at the end of the log.

    `before` are the fields that the status has now: what isn't shown any more is removed, and a log
    only ever grows. `conditions` are those of before.
    """
    shown = {**shown, "conditions": [kept(each, conditions) for each in shown["conditions"]]}
    if not before:
        return [{"op": "add", "path": "/status", "value": {**shown, "log": list(texts)}}]
    gone = sorted(set(before) - shown.keys() - {"log"})
    patch: list[Json] = [{"op": "remove", "path": f"/status/{field}"} for field in gone]
    patch += [
        {"op": "add", "path": f"/status/{field}", "value": held} for field, held in shown.items()
    ]
    if "log" not in before:
        patch.append({"op": "add", "path": "/status/log", "value": list(texts)})
    else:
        patch += [{"op": "add", "path": "/status/log/-", "value": text} for text in texts]
    return patch


def _succeeded(summary: Summary, at: int) -> Json:
    over = summary.state in OVER or summary.state is RunState.ABORTED
    truth = "Unknown" if not over else str(summary.state is RunState.COMPLETE)
    reason = summary.reason.value or summary.state.value
    message = summary.message or f"the run is {summary.state}"
    return condition("Succeeded", truth, reason, message, summary.finished_at or at)


def status_in(shown: Json) -> RunStatus:
    """The status that an object shows, or of a new run."""
    if not shown.get("state"):
        return RunStatus()
    summary = Summary(
        state=_RUN_STATES[shown["state"]],
        reason=_REASONS.get(shown.get("reason", ""), Reason.NONE),
        message=shown.get("message", ""),
        started_at=times.read(shown.get("startedAt")),
        finished_at=times.read(shown.get("finishedAt")),
        counts=dict(shown.get("tasks") or {}),
    )
    warnings = tuple(
        RunWarning(w["type"], w["message"], tuple(w.get("path", ())), tuple(w.get("refs", ())))
        for w in shown.get("warnings") or ()
    )
    newest = shown.get("operation")
    return RunStatus(
        summary,
        warnings,
        _reply_in(newest) if newest else None,
        bool(shown.get("planned")),
        tuple(_reply_in(each) for each in shown.get("earlierOperations") or ()),
    )


def _reply_out(reply: Reply) -> Json:
    return {
        "id": reply.id,
        "name": reply.operation.value,
        "accepted": reply.accepted,
        "state": reply.state.value,
        "message": reply.message,
        **({"starts": True} if reply.starts else {}),
    }


def _reply_in(shown: Any) -> Reply:
    return Reply(
        shown["id"],
        Operation(shown["name"]),
        bool(shown["accepted"]),
        _RUN_STATES[shown["state"]],
        shown.get("message", ""),
        bool(shown.get("starts")),
    )


# --------------------------------------------------------------------------------------------- log


def logged(change: Change, written: int) -> str:
    """A change as a text of the log."""
    entry: list[Any] = [written, change.at - written, change.state.value]
    entry += [change.ref or "", change.side.value if change.side is not None else ""]
    entry += [change.attempt, change.launch, change.reason.value, change.message]
    while entry[-1] in ("", 0):
        entry.pop()
    return json.dumps(entry, ensure_ascii=False, separators=(",", ":"))


def log(texts: Sequence[str]) -> list[Written]:
    """The changes of a log."""
    return [_change(json.loads(text)) for text in texts]


def _change(entry: list[Any]) -> Written:
    written, after, state = entry[:3]
    ref, side, attempt, launch, reason, message = entry[3:] + _NOTHING[len(entry) - 3 :]
    # A ref can't be empty: without one it is the run's own change.
    known = _TASK_STATES[state] if ref else _RUN_STATES[state]
    change = Change(
        known,
        written + after,
        ref or None,
        _SIDES[side],
        attempt,
        launch,
        _REASONS[reason],
        message,
    )
    return Written(written, change)


_NOTHING: Final[list[Any]] = ["", "", 0, 0, "", ""]
