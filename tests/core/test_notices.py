"""Notifications: the literal shape of a message, and times."""

import json

import pytest

from xaas_core.engine.history import Change
from xaas_core.engine.states import Reason, RunState, Side, TaskState
from xaas_core.models import PipelineRunSpec
from xaas_core.models.objects import Meta, Run
from xaas_core.names import event_id, instance_id, runner_id
from xaas_core.notices import CHANNEL, message, rfc3339
from xaas_core.testing.builders import plan, task_plan

UID = "8b0f0e9e-0000-4000-8000-000000000000"
RUN = Run(Meta(UID, "default", "1", 0), PipelineRunSpec(name="pipe", parameters={}))
PLAN = plan(task_plan("a"))
AT = 1_700_000_000_007


def test_the_channel() -> None:
    assert CHANNEL == "xaas.pipeline.channel"


@pytest.mark.parametrize("state", [s for s in RunState if s is not RunState.PENDING])
def test_a_runs_message(state: RunState) -> None:
    change = Change(state, AT, reason=Reason.REQUESTED, message="not shown")
    assert message(RUN, PLAN, 4, change) == {
        "event": "Pipeline",
        "content": {"instance_id": UID, "name": "pipe", "status": state.value},
        "id": event_id(UID, 4),
        "time": "2023-11-14T22:13:20.007Z",
        "sequence": 4,
    }


@pytest.mark.parametrize("state", [s for s in TaskState if s is not TaskState.PENDING])
@pytest.mark.parametrize("side", list(Side))
def test_a_task_runs_message(state: TaskState, side: Side) -> None:
    sent = message(RUN, PLAN, 5, Change(state, AT, "a", side, attempt=2, launch=3))
    assert sent == {
        "event": "PipelineTask",
        "content": {
            "instance_id": instance_id(UID, "a", side),
            "process_type": side.value,
            "ref": "a",
            "name": "task a",
            "owner_id": UID,
            "runner_id": runner_id(UID, "a", side, 2, 3),
            "status": state.value,
        },
        "id": event_id(UID, 5),
        "time": "2023-11-14T22:13:20.007Z",
        "sequence": 5,
    }
    assert json.loads(json.dumps(sent)) == sent


def test_where_none_ran_runner_id_is_null() -> None:
    sent = message(RUN, PLAN, 5, Change(TaskState.SKIPPED, AT, "a", Side.DO))
    assert sent["content"]["runner_id"] is None


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (999, "1970-01-01T00:00:00.999Z"),
        (1_700_000_000_999, "2023-11-14T22:13:20.999Z"),
        (4_102_444_799_999, "2099-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_rfc_3339_with_milliseconds_in_utc(at: int, text: str) -> None:
    assert rfc3339(at) == text
