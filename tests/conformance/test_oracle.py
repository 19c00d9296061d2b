"""The oracle itself: it accepts what the contract allows and sees each way of breaking it."""

from typing import Any

import pytest
from tests.conformance.kit.events import Message, messages
from tests.conformance.kit.oracle import Planned, violations
from tests.conformance.kit.plan import node

NODES = {
    "a": node(undo="pass"),
    "b": node(undo="pass", after="a"),
    "c": node(after="a"),
    "d": node(undo="pass", after="b c"),
}
TASKS = {ref: f"task-{ref}" for ref in NODES}
PLANNED = Planned("p", NODES, TASKS)

FORWARD = "run processing, a do running, a do succeeded, b do running, c do running"
PASSED = f"{FORWARD}, b do succeeded, c do succeeded, d do running"
BACK = (
    "run aborted, run cancelling, d undo running, d undo succeeded, b undo running, "
    "c undo skipped, b undo succeeded, a undo running, a undo succeeded, run cancelled"
)


def story(briefs: str) -> list[Message]:
    """The messages that these briefs would be the briefs of."""
    return [message(number, *brief.split()) for number, brief in enumerate(briefs.split(", "), 1)]


def message(number: int, *brief: str) -> Message:
    status = brief[-1]
    content: dict[str, Any]
    if brief[0] == "run":
        event = "Pipeline"
        content = {"instance_id": "r", "name": "p", "status": status}
    else:
        ref, side, _ = brief
        runner = None if status == "skipped" else "runner-1"
        event = "PipelineTask"
        content = {
            "instance_id": f"{ref}-{side}", "process_type": side, "ref": ref,
            "name": TASKS[ref], "owner_id": "r", "runner_id": runner, "status": status,
        }  # fmt: skip
    head = {"id": f"id-{number}", "time": "2026-01-02T03:04:05.678Z", "sequence": number}
    return Message(f"cursor-{number}", {"event": event, "content": content, **head})


@pytest.mark.parametrize(
    "briefs",
    [
        f"{PASSED}, d do succeeded, run complete",
        f"{PASSED}, d do failed, {BACK}",
        (
            f"{FORWARD}, run cancelling, b do succeeded, c do failed, d undo skipped, c undo skipped, "
            "b undo running, b undo succeeded, a undo running, a undo succeeded, run cancelled"
        ),
        (
            f"{PASSED}, d do failed, run aborted, run cancelling, d undo running, d undo failed, "
            "run aborted, run processing, d do running, d do succeeded, run complete"
        ),
        (
            f"{PASSED}, d do failed, run aborted, run cancelling, d undo running, d undo failed, "
            "run aborted, run cancelling, d undo running, d undo succeeded, c undo skipped, "
            "b undo running, b undo failed, run aborted, run processing, b do running, "
            "b do succeeded, d do running, d do succeeded, run complete"
        ),
        "run cancelled",
    ],
)
def test_accepts_what_is_legal(briefs: str) -> None:
    assert violations("r", PLANNED, story(briefs)) == []


@pytest.mark.parametrize(
    ("briefs", "law"),
    [
        ("run complete", "no move of a run"),
        ("run processing, run complete", "complete when every do passed"),
        ("run processing, b do running", "after its dependencies"),
        ("a do running", "no do starts while the run is pending"),
        (f"{FORWARD}, b do running", "no move of a task run"),
        (f"{FORWARD}, run aborted, run cancelling", "the cause comes first"),
        (f"{FORWARD}, b do failed, run aborted, c do succeeded", "one write"),
        (
            f"{FORWARD}, run cancelling, b do succeeded, c do succeeded, d do running",
            "no do starts",
        ),
        (f"{PASSED}, d do failed, run aborted, run cancelling, b undo running", "its dependants'"),
        (f"{PASSED}, run cancelling, d undo running", "never overlap"),
        (
            f"{PASSED}, d do failed, run aborted, run cancelling, d undo skipped",
            "owed isn't skipped",
        ),
        (
            f"{PASSED}, d do failed, run aborted, run cancelling, run cancelled",
            "every undo is over",
        ),
        (f"{FORWARD}, a undo running", "no undo starts while the run is processing"),
        (
            (
                f"{PASSED}, d do failed, run aborted, run cancelling, d undo running, d undo failed, "
                "run aborted, run processing, a do running"
            ),
            "no move of a task run",
        ),
        (f"{PASSED}, d do failed, {BACK}, run processing", "no move of a run"),
    ],
)
def test_sees_what_is_illegal(briefs: str, law: str) -> None:
    broken = violations("r", PLANNED, story(briefs))
    assert any(law in line for line in broken), broken


@pytest.mark.parametrize(
    ("change", "law"),
    [
        ({"sequence": 7}, "without gaps"),
        ({"time": "2026-01-02 03:04"}, "RFC 3339"),
        ({"more": 1}, "a message has"),
        ({"event": "Task"}, "event is"),
        ({"content": {"ref": "a"}}, "content has"),
    ],
)
def test_sees_a_wrong_shape(change: dict[str, Any], law: str) -> None:
    told = story(FORWARD)
    told[1] = Message(told[1].cursor, told[1].body | change)
    broken = violations("r", PLANNED, told)
    assert any(law in line for line in broken), broken


def test_reads_server_sent_events() -> None:
    lines = [": hello", "", "id: 7", "event: x", 'data: {"id":', 'data: "n"}', "", "data:{}", ""]
    found = list(messages(lines))
    assert [(message.cursor, message.body) for message in found] == [("7", {"id": "n"}), ("7", {})]
