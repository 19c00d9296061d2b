"""Runs, records and plans as objects: what is written comes back, after all that the API server does."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaas_core.engine.facts import Reply
from xaas_core.engine.history import Change
from xaas_core.engine.plan import Plan, SecretRef, Step, TaskPlan
from xaas_core.engine.records import Attempt, Failure, StepRecord, Stop, TaskRecord, Verdict
from xaas_core.engine.retry import Retries
from xaas_core.engine.states import Operation, Reason, RunState, Side, TaskState
from xaas_core.models.objects import RunStatus, RunWarning, Summary
from xaas_kube import plan_objects, record_objects, run_index, run_objects, store

UID = "6e1f0c52-6b2e-4c62-9a53-0a2f52a4d1f0"
RUN = {"metadata": {"name": "tutorial-0a1b2c3d", "namespace": "default", "uid": UID}}

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def through_the_server(item: Any) -> Any:
    """What an API server makes of JSON: keys sorted, 1 of 1.0."""
    if isinstance(item, dict):
        return {key: through_the_server(item[key]) for key in sorted(item)}
    if isinstance(item, list):
        return [through_the_server(each) for each in item]
    return int(item) if isinstance(item, float) and item.is_integer() else item


def kept(record: TaskRecord, change: Change | None = None) -> TaskRecord:
    return record_objects.read(through_the_server(record_objects.new(RUN, "task", record, change)))


def step(**more: Any) -> StepRecord:
    return StepRecord(0, 5, "nonce", "pod", **more)


def attempt(number: int = 1, **more: Any) -> Attempt:
    return Attempt(number, 0, 1, (0,), launched_at=1, **more)


@given(value=VALUES)
def test_what_scripts_changed_comes_back_exactly(value: Any) -> None:
    delta = ({"op": "set", "path": ["a", "é"], "value": value},)
    record = TaskRecord("a", Side.DO, attempts=(attempt(steps=(step(delta=delta),)),))
    assert repr(kept(record)) == repr(record)


def test_every_field_of_a_record_comes_back() -> None:
    failure = Failure("Error", "text", 0, 3, ("line 1", "line 2"))
    whole = TaskRecord(
        "タスク 1/é",
        Side.UNDO,
        Verdict(2, False, Reason.CONDITION_ERROR, Failure("E", "t")),
        (
            attempt(
                lost=2,
                undoes=3,
                stop=Stop(Reason.TIMEOUT, 7),
                ended_at=9,
                reason=Reason.TIMEOUT,
                failure=failure,
                trouble="ErrImagePull: no such image",
                steps=(step(finished_at=6, failure=failure, reason=Reason.SCRIPT_ERROR),),
            ),
            attempt(2),
        ),
    )
    assert kept(whole) == whole


def test_a_long_delta_is_kept_short() -> None:
    delta = ({"op": "set", "path": ["a"], "value": '"' * 500_000},)
    record = TaskRecord("a", Side.DO, attempts=(attempt(steps=(step(delta=delta),)),))
    item = record_objects.new(RUN, "task", record, None)
    assert kept(record) == record
    assert len(json.dumps(item)) < 100_000


def state_of(record: TaskRecord, change: Change | None, before: dict[str, Any]) -> str:
    return str(record_objects.status(record, change, before)["state"])


def test_the_state_that_is_shown() -> None:
    nothing: dict[str, Any] = {}
    waiting = TaskRecord("a", Side.DO, attempts=(attempt(),))
    running = TaskRecord("a", Side.DO, attempts=(attempt(steps=(step(),)),))
    failed = replace(running.attempts[0], ended_at=9, reason=Reason.SCRIPT_ERROR)
    between = running.with_last(failed)
    again = replace(between, attempts=(failed, attempt(2)))
    assert state_of(waiting, None, nothing) == "pending"
    assert state_of(running, None, {"state": "pending"}) == "running"
    # Between two attempts it stays running: nothing is shown that isn't in the history.
    assert state_of(between, None, {"state": "running"}) == "running"
    assert state_of(again, None, {"state": "running"}) == "running"
    change = Change(TaskState.FAILED, 9, "a", Side.DO, 1, 1, Reason.SCRIPT_ERROR)
    shown = record_objects.status(between, change, {"state": "running"})
    assert (shown["state"], shown["reason"]) == ("failed", "ScriptError")
    assert shown["conditions"][0]["status"] == "False"


def test_a_success_is_shown_as_soon_as_its_runner_has_told() -> None:
    done = attempt(steps=(step(finished_at=9, succeeded=True),), ended_at=9, succeeded=True)
    shown = record_objects.status(TaskRecord("a", Side.DO, attempts=(done,)), None, {})
    assert shown["state"] == "succeeded"
    assert shown["finishedAt"] == "1970-01-01T00:00:00.009Z"
    assert shown["conditions"][0]["status"] == "True"
    again = replace(attempt(2), round=1)
    renewed = TaskRecord("a", Side.DO, attempts=(done, again))
    assert state_of(renewed, None, shown) == "pending", "it is to run again"


def test_a_plan_with_one_task_many_times_is_written_once() -> None:
    steps = (Step("do" * 10_000, "undo"), Step("x"))
    secrets = (SecretRef("n", "s", "k"),)
    tasks = tuple(
        TaskPlan(f"t{i}", "task", (f"t{i - 1}",) if i else (), steps=steps, secrets=secrets)
        for i in range(50)
    )
    last = TaskPlan("end", "other", condition="True", retries=Retries(2, 5, 1.5, 9))
    plan = Plan("p", (*tasks, last))
    item = through_the_server(plan_objects.new(RUN, plan))
    assert plan_objects.read(item) == plan
    assert len(json.dumps(item)) < 60_000


REPLY = Reply("id", Operation.CANCEL, False, RunState.PROCESSING, "no")
STATUSES = [
    RunStatus(),
    RunStatus(Summary(RunState.PROCESSING, started_at=1_700_000_000_123), planned=True),
    RunStatus(
        Summary(RunState.CANCELLED, Reason.TASK_FAILED, "é", 5, 9, {"total": 3, "succeeded": 1}),
        (RunWarning("ParamsConflict", "text", ("a", ""), ("x", "y")),),
        REPLY,
        True,
        (Reply("0", Operation.RUN, True, RunState.PENDING, starts=True),),
    ),
]


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_comes_back(status: RunStatus) -> None:
    shown = through_the_server(run_objects.status_out(status, 3, 5))
    assert run_objects.status_in(shown) == status


@pytest.mark.parametrize(
    ("state", "truth"),
    [
        (RunState.PENDING, "Unknown"),
        (RunState.PROCESSING, "Unknown"),
        (RunState.CANCELLING, "Unknown"),
        (RunState.COMPLETE, "True"),
        (RunState.ABORTED, "False"),
        (RunState.CANCELLED, "False"),
    ],
)
def test_the_condition_of_a_run(state: RunState, truth: str) -> None:
    (condition,) = run_objects.status_out(RunStatus(Summary(state)), 1, 5_000)["conditions"]
    assert (condition["type"], condition["status"]) == ("Succeeded", truth)
    assert condition["lastTransitionTime"] == "1970-01-01T00:00:05Z"


def applied(status: dict[str, Any], patch: list[dict[str, Any]]) -> dict[str, Any]:
    """What a JSON patch makes of an object with this status."""
    item: dict[str, Any] = {"status": status} if status else {}
    for change in patch:
        where, place = item, change["path"].strip("/").split("/")
        for key in place[:-1]:
            where = where[key]
        if place[-1] == "-":
            where.append(change["value"])  # type: ignore[attr-defined]
        elif change["op"] == "remove":
            del where[place[-1]]
        else:
            where[place[-1]] = change["value"]
    return dict(item["status"])


def test_a_status_patch_replaces_all_but_the_log() -> None:
    status: dict[str, Any] = {}
    texts: list[str] = []
    for number, each in enumerate((*STATUSES, STATUSES[1])):
        shown = run_objects.status_out(each, number, number * 10_000)
        new = [str(number), str(-number)]
        patch = run_objects.status_patch(shown, new, status.keys(), status.get("conditions"))
        status = applied(status, patch)
        texts += new
        assert run_objects.status_in(status) == each
        assert status["log"] == texts
        assert status.keys() - {"log"} == shown.keys()


def test_a_condition_holds_since_it_became_so() -> None:
    first = run_objects.status_out(STATUSES[1], 1, 10_000)
    second = run_objects.status_out(STATUSES[1], 1, 20_000)
    (_, patch) = "", run_objects.status_patch(second, [], first.keys(), first["conditions"])
    told = next(each["value"] for each in patch if each["path"] == "/status/conditions")
    assert told[0]["lastTransitionTime"] == first["conditions"][0]["lastTransitionTime"]


@pytest.mark.parametrize(
    ("status", "spec", "waits"),
    [
        ({}, {}, True),
        ({"state": "processing", "planned": True}, {}, False),
        ({"state": "processing", "planned": True}, {"name": "cancel", "id": "2"}, True),
        (
            {
                "state": "cancelling",
                "planned": True,
                "operation": {
                    "id": "2",
                    "name": "cancel",
                    "accepted": True,
                    "state": "cancelling",
                },
            },
            {"name": "cancel", "id": "2"},
            False,
        ),
    ],
)
def test_a_new_leader_looks_first_at_what_is_waited_for(
    status: dict[str, Any], spec: dict[str, Any], waits: bool
) -> None:
    meta = {"uid": "u", "namespace": "n", "name": "r", "resourceVersion": "1"}
    meta |= {"creationTimestamp": "2026-01-01T00:00:00Z"}
    operation = {"operation": spec} if spec else {}
    item = {"metadata": meta, "spec": {"name": "p", **operation}, "status": status}
    assert store._is_waited_for(run_index.known_run(item)) is waits
