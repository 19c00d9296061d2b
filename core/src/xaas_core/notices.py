"""Notifications on the channel `xaas.pipeline.channel`: one JSON message per change of state."""

from datetime import UTC, datetime
from typing import Any, Final

from xaas_core.engine.history import Change
from xaas_core.engine.plan import Plan
from xaas_core.models.objects import Run
from xaas_core.names import event_id, instance_id, runner_id

CHANNEL: Final = "xaas.pipeline.channel"


def rfc3339(at: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03d}Z"


def message(run: Run, plan: Plan | None, sequence: int, change: Change) -> dict[str, Any]:
    """The message of one change. `id` is the same whenever and by whomever it is sent."""
    uid = run.meta.uid
    content: dict[str, Any]
    if change.ref is None or change.side is None:
        event = "Pipeline"
        content = {"instance_id": uid, "name": run.spec.name, "status": change.state.value}
    else:
        event = "PipelineTask"
        task = plan.by_ref[change.ref].task if plan is not None else change.ref
        who = (uid, change.ref, change.side)
        content = {
            "instance_id": instance_id(*who),
            "process_type": change.side.value,
            "ref": change.ref,
            "name": task,
            "owner_id": uid,
            "runner_id": runner_id(*who, change.attempt, change.launch) if change.attempt else None,
            "status": change.state.value,
        }
    return {
        "event": event,
        "content": content,
        "id": event_id(uid, sequence),
        "time": rfc3339(change.at),
        "sequence": sequence,
    }
