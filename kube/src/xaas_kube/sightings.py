"""What Jobs and pods say of runners: from their objects to `Sighting`s. Pure.

A runner is a Job with one pod, and lives as long as the pod may yet do something. The Job's own word
comes seconds after the pod's, so the pod's counts: with `backoffLimit: 0` there is no other one.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from xaas_core.engine.facts import Key, Phase, Sighting
from xaas_core.engine.states import Reason, Side
from xaas_core.names import runner_id
from xaas_kube.client import Json
from xaas_kube.words import Annotation, Label

STARTING: Final = frozenset({"ContainerCreating", "PodInitializing"})
"""Why a container waits in the ordinary course of things."""

STEP: Final = "step-"
"""What the names of our containers begin with; the step's index follows."""

OUT_OF_MEMORY: Final = "OOMKilled"
BACK_OFF: Final = "ImagePullBackOff"
NEVER_STARTED: Final = "ContainerStatusUnknown"
"""What is said of a container whose pod was deleted before it started."""


@dataclass(frozen=True)
class SeenJob:
    """A Job. `finished`: it has its last condition; `why` is what that says. `released`: it says how
    long it is to be kept. `trouble`: why it has no pod."""

    uid: str
    namespace: str
    name: str
    run: str
    key: Key
    attempt: int
    launch: int
    created: str
    deleting: bool = False
    finished: bool = False
    released: bool = False
    why: str = ""
    trouble: str = ""


@dataclass(frozen=True)
class SeenPod:
    """A pod. `run` is empty while it doesn't say what it is for, as one of the pool. `over`: none of its
    containers runs any more; `ending`: it is being stopped. `gone`: steps whose container has ended;
    `started`: any of them ever ran. `trouble`: why it can't start, by its status;
    `learnt`: by an event, where its status doesn't say."""

    uid: str
    namespace: str
    name: str
    job: str
    run: str
    created: str
    over: bool = False
    ending: bool = False
    started: bool = False
    gone: frozenset[int] = frozenset()
    reason: Reason = Reason.NONE
    message: str = ""
    trouble: str = ""
    learnt: str = ""


def is_ours(item: Json) -> bool:
    """Whether a Job that has our labels was made by us, for the run that it names.

    Labels can be written by anybody, in any namespace.
    """
    meta = item["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    owners = {
        each.get("uid")
        for each in meta.get("ownerReferences") or ()
        if each.get("kind") == "PipelineRun" and each.get("controller")
    }
    try:
        side, numbers = Side(labels[Label.SIDE]), (labels[Label.ATTEMPT], labels[Label.LAUNCH])
        name = runner_id(labels[Label.RUN], annotations[Annotation.REF], side, *map(int, numbers))
    except (KeyError, ValueError):
        return False
    # One that was idle keeps its own name.
    named = meta["name"] == name or (Label.POOL in labels and labels.get(Label.RUNNER) == name)
    return labels[Label.RUN] in owners and named


def read_job(item: Json) -> SeenJob:
    """A Job of ours. Raises KeyError or ValueError for one that only looks like it."""
    meta, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    labels = meta["labels"]
    last = next(
        (
            each
            for each in status.get("conditions") or ()
            if each["type"] in ("Complete", "Failed") and each["status"] == "True"
        ),
        None,
    )
    return SeenJob(
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        run=labels[Label.RUN],
        key=(meta["annotations"][Annotation.REF], Side(labels[Label.SIDE])),
        attempt=int(labels[Label.ATTEMPT]),
        launch=int(labels[Label.LAUNCH]),
        created=meta["creationTimestamp"],
        deleting="deletionTimestamp" in meta,
        finished=last is not None,
        released=Annotation.HELD not in meta["annotations"]
        and spec.get("ttlSecondsAfterFinished") is not None,
        why="" if last is None or last["type"] == "Complete" else str(last.get("message") or ""),
    )


def read_pod(item: Json, before: SeenPod | None) -> SeenPod:
    """A pod of ours, which looked like `before`. Raises KeyError for one that only looks like it."""
    meta, status = item["metadata"], item.get("status") or {}
    # Others may be put into a pod by the cluster (a mesh's); whether they run is of no interest.
    containers = [
        each for each in status.get("containerStatuses") or () if each["name"].startswith(STEP)
    ]
    ended = {each["name"]: each["state"]["terminated"] for each in containers if _has_ended(each)}
    phase = status.get("phase")
    reason, message = _why(status, ended)
    trouble = _trouble(status, containers)
    if before is not None and trouble.startswith(BACK_OFF) and before.trouble:
        trouble = before.trouble  # the reason for which it backs off
    started = any("waiting" not in (each.get("state") or {}) for each in containers)
    return SeenPod(
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        job=meta["labels"][Label.JOB],
        run=meta["labels"].get(Label.RUN, ""),
        created=meta["creationTimestamp"],
        over=phase in ("Succeeded", "Failed") or _all_ended(item, ended),
        # Nobody but us gives a pod of a Job a deadline of its own (`launcher._stop`).
        ending="deletionTimestamp" in meta or "activeDeadlineSeconds" in item["spec"],
        started=started,
        gone=frozenset(int(name.removeprefix(STEP)) for name in ended),
        reason=reason,
        message=message,
        trouble=trouble,
        # Others write to a pod, too: what an event has told holds until a container starts.
        learnt=before.learnt if before is not None and not started else "",
    )


def _has_ended(container: Json) -> bool:
    return "terminated" in (container.get("state") or {})


def _all_ended(item: Json, ended: Collection[str]) -> bool:
    steps = [each for each in item["spec"]["containers"] if each["name"].startswith(STEP)]
    return bool(ended) and len(ended) == len(steps)


def _why(status: Json, ended: dict[str, Any]) -> tuple[Reason, str]:
    """Why a pod, or the first container that ended out of order, isn't there any more."""
    if status.get("reason"):  # Evicted, DeadlineExceeded, NodeLost, ...
        text = f"{status['reason']}: {status.get('message') or 'no more is known'}"
        return Reason.RUNNER_LOST, text
    for each in status.get("conditions") or ():
        if each["type"] == "DisruptionTarget" and each["status"] == "True":
            text = f"{each.get('reason', 'disrupted')}: {each.get('message', '')}"
            return Reason.RUNNER_LOST, text
    ended = {name: how for name, how in ended.items() if how.get("reason") != NEVER_STARTED}
    for name, how in sorted(ended.items(), key=lambda pair: pair[1].get("finishedAt") or ""):
        step = name.removeprefix(STEP)
        if how.get("reason") == OUT_OF_MEMORY:
            return Reason.OUT_OF_MEMORY, f"step {step} was killed: it was out of memory"
        if how.get("exitCode"):
            text = f"step {step}'s container ended with exit code {how['exitCode']}"
            more = how.get("message") or (how.get("reason") if how.get("reason") != "Error" else "")
            return Reason.RUNNER_LOST, f"{text}: {more}" if more else text
    return Reason.NONE, ""


def _trouble(status: Json, containers: Iterable[Json]) -> str:
    for each in containers:
        waiting = (each.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason")
        if reason and reason not in STARTING:
            return f"{reason}: {waiting.get('message') or each.get('image')}"
    for each in status.get("conditions") or ():
        if each["type"] == "PodScheduled" and each["status"] == "False":
            return f"{each.get('reason')}: {each.get('message')}"
    return ""


def sight(job: SeenJob, pods: Collection[SeenPod]) -> Sighting:
    """What a Job and its pods say of their runner."""
    told = Sighting(job.attempt, job.launch, Phase.LIVE)
    alive = [pod for pod in pods if not pod.over]
    if alive:
        pod = alive[0]
        return replace(
            told,
            ending=pod.ending or job.deleting,
            gone=pod.gone,
            reason=pod.reason if pod.gone else Reason.NONE,
            message=pod.message if pod.gone else pod.trouble or pod.learnt,
        )
    # Before the Job itself has finished, too: it is kept until it is told how long, and a run isn't
    # put aside before that.
    held = not job.released and not job.deleting
    if pods:
        pod = next((each for each in pods if each.message), next(iter(pods)))
        reason = pod.reason
        return replace(told, phase=Phase.OVER, reason=reason, message=pod.message, held=held)
    if job.finished:
        return replace(told, phase=Phase.OVER, message=job.why, held=held)
    # Its pod isn't made yet, or was deleted: then the Job will say that it has failed.
    return replace(told, message=job.trouble, ending=job.deleting)
