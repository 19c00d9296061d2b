"""What Jobs and pods say of runners."""

from dataclasses import replace
from typing import Any

import pytest

from xaas_core.engine.facts import Phase, Sighting
from xaas_core.engine.states import Reason, Side
from xaas_kube.sightings import SeenPod, read_job, read_pod, sight
from xaas_kube.words import Annotation

RUN = "6e1f0c52-6b2e-4c62-9a53-0a2f52a4d1f0"
LABELS = {
    "xaas.dev/run": RUN,
    "xaas.dev/process-type": "undo",
    "xaas.dev/attempt": "2",
    "xaas.dev/launch": "3",
    "batch.kubernetes.io/job-name": "xaas-1",
}


def metadata(name: str) -> dict[str, Any]:
    return {
        "uid": f"uid-of-{name}",
        "namespace": "default",
        "name": name,
        "labels": LABELS,
        "annotations": {"xaas.dev/ref": "タスク 1"},
        "creationTimestamp": "2026-01-02T03:04:05Z",
    }


def job(
    *conditions: dict[str, Any], ttl: int | None = None, held: bool = False, deleting: bool = False
) -> Any:
    meta = metadata("xaas-1") | ({"deletionTimestamp": "x"} if deleting else {})
    meta["annotations"] |= {Annotation.HELD.value: "true"} if held else {}
    spec = {} if ttl is None else {"ttlSecondsAfterFinished": ttl}
    return read_job({"metadata": meta, "spec": spec, "status": {"conditions": list(conditions)}})


COMPLETE = {"type": "Complete", "status": "True"}
FAILED = {"type": "Failed", "status": "True", "message": "Job has reached the backoff limit"}
GOING_TO_FAIL = {"type": "FailureTarget", "status": "True"}


def pod(
    phase: str, *states: dict[str, Any], before: SeenPod | None = None, **status: Any
) -> SeenPod:
    """A pod with a container for each of `states`."""
    containers = [{"name": f"step-{i}", "image": "i", "state": s} for i, s in enumerate(states)]
    told = {"phase": phase, "containerStatuses": containers, **status}
    spec = {"containers": [{"name": each["name"]} for each in containers]}
    return read_pod({"metadata": metadata("xaas-1-x"), "spec": spec, "status": told}, before)


def ended(code: int = 0, **more: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, **more}}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


RUNS: dict[str, Any] = {"running": {}}


def test_whose_runner_it_is() -> None:
    seen = job()
    assert (seen.run, seen.key, seen.attempt, seen.launch) == (RUN, ("タスク 1", Side.UNDO), 2, 3)
    assert sight(seen, []) == Sighting(2, 3, Phase.LIVE)


@pytest.mark.parametrize(
    ("conditions", "pods", "phase"),
    [
        ([], [], Phase.LIVE),
        ([GOING_TO_FAIL], [], Phase.LIVE),
        ([], [pod("Pending")], Phase.LIVE),
        ([], [pod("Running", RUNS)], Phase.LIVE),
        ([], [pod("Running", RUNS, ended())], Phase.LIVE),
        ([], [pod("Running", ended(), ended())], Phase.OVER),  # seconds before its phase says so
        ([], [pod("Succeeded", ended())], Phase.OVER),
        ([COMPLETE], [pod("Succeeded", ended())], Phase.OVER),
        ([COMPLETE], [], Phase.OVER),
        ([FAILED], [], Phase.OVER),
        ([FAILED], [pod("Running", RUNS)], Phase.LIVE),  # a pod that terminates still lives
    ],
)
def test_how_far_it_is(conditions: list[Any], pods: list[SeenPod], phase: Phase) -> None:
    assert sight(job(*conditions), pods).phase is phase


def test_traces_are_held_until_they_are_released() -> None:
    assert sight(job(COMPLETE), []).held
    assert sight(job(COMPLETE, ttl=600, held=True), []).held
    assert not sight(job(COMPLETE, ttl=60), []).held
    assert sight(job(), [pod("Succeeded", ended())]).held  # though the Job doesn't know it yet
    assert not sight(job(deleting=True), [pod("Succeeded", ended())]).held


def test_the_steps_that_are_gone_while_others_live() -> None:
    told = sight(job(), [pod("Running", ended(137, reason="OOMKilled"), RUNS)])
    assert (told.phase, told.gone, told.reason) == (
        Phase.LIVE,
        frozenset({0}),
        Reason.OUT_OF_MEMORY,
    )
    assert told.message == "step 0 was killed: it was out of memory"


@pytest.mark.parametrize(
    ("seen", "reason", "message"),
    [
        (pod("Failed", ended(137, reason="OOMKilled")), Reason.OUT_OF_MEMORY, "step 0 was killed: it was out of memory"),
        (pod("Failed", ended(3, reason="Error")), Reason.RUNNER_LOST, "step 0's container ended with exit code 3"),
        (pod("Failed", ended(0), ended(1, reason="Error", message="why")), Reason.RUNNER_LOST, "step 1's container ended with exit code 1: why"),
        (pod("Failed", ended(137), reason="Evicted", message="the node was low on memory"), Reason.RUNNER_LOST, "Evicted: the node was low on memory"),
        (pod("Failed", ended(143), conditions=[{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "m"}]), Reason.RUNNER_LOST, "PreemptionByScheduler: m"),
        (pod("Succeeded", ended(0)), Reason.NONE, ""),
    ],
)  # fmt: skip
def test_why_it_is_over(seen: SeenPod, reason: Reason, message: str) -> None:
    told = sight(job(FAILED), [seen])
    assert (told.phase, told.reason, told.message) == (Phase.OVER, reason, message)


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (pod("Pending", waits("ContainerCreating")), ""),
        (pod("Pending", waits("ErrImagePull", "no such image")), "ErrImagePull: no such image"),
        (pod("Pending", waits("CreateContainerConfigError")), "CreateContainerConfigError: i"),
        (pod("Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]), "Unschedulable: 0/1 nodes"),
    ],
)  # fmt: skip
def test_why_it_doesnt_start(seen: SeenPod, message: str) -> None:
    assert sight(job(), [seen]).message == message


def test_a_reason_is_kept_while_it_backs_off() -> None:
    first = pod("Pending", waits("ErrImagePull", "no such image"))
    second = pod("Pending", waits("ImagePullBackOff", "Back-off"), before=first)
    assert second.trouble == "ErrImagePull: no such image"
    assert pod("Running", RUNS, before=second).trouble == ""


def test_what_an_event_told_holds_until_a_container_starts() -> None:
    """Whoever writes to the pod meanwhile."""
    first = replace(pod("Pending", waits("ContainerCreating")), learnt="FailedMount: no Secret")
    second = pod("Pending", waits("ContainerCreating"), before=first)
    assert sight(job(), [second]).message == "FailedMount: no Secret"
    third = pod("Pending", waits("ErrImagePull", "no such image"), before=second)
    assert sight(job(), [third]).message == "ErrImagePull: no such image"
    assert sight(job(), [pod("Running", RUNS, before=second)]).message == ""


def test_what_only_looks_like_a_job_of_ours_isnt_read() -> None:
    strange: list[dict[str, Any]] = [{}, LABELS | {"xaas.dev/attempt": "x"}]
    for labels in strange:
        with pytest.raises((KeyError, ValueError)):
            read_job({"metadata": metadata("xaas-1") | {"labels": labels}, "spec": {}})
