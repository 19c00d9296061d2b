"""The Job of one attempt: a container for each step, hardened.

A script runs as nobody, on a file system that it can't write, without a token for the API server,
and with nothing of its node's. Everything a user can choose of it is in `JobSettings` (the operator's)
and in the task (its author's).
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from xaas_core.names import instance_id, runner_id
from xaas_core.ports import LaunchOrder, RunnerKey
from xaas_core.tokens import IdleRunner
from xaas_kube.client import Json
from xaas_kube.record_objects import owner
from xaas_kube.run_index import KnownRun
from xaas_kube.words import MANAGER, Annotation, Label
from xaas_runner.contract import Environment

USER: Final = 65532
"""Nobody in particular; the images name the same."""

SECRETS: Final = "/run/xaas/secrets"
"""Where the container finds the values that its task's `secrets` list."""

LEEWAY: Final = 3600
"""Seconds that a Job may take beyond what the engine allows: it may have to wait for the gateway to
tell of its end, and is ended by the engine long before."""

OUTAGE: Final = 600
"""Seconds that nobody may watch Jobs for, and yet every end is seen: so long a Job is kept at least. One
that is to be kept shorter is told so once its outcome is recorded; until then it is held."""

IDLE_KEPT: Final = 60
"""Seconds that the Job of an idle runner is kept that left without work."""

Texts = dict[str, str]

SHARED: Final = frozenset({"cpu", "memory", "ephemeral-storage"})
"""Resources that the containers of a pod share; others (a GPU) are held, so by the first only."""


@dataclass(frozen=True)
class JobSettings:
    """What the operator says of all Jobs. `user` and group of their pods; None: as the cluster assigns
    them. `resources` are a task's that names none of its own; `keep_finished`: seconds that a finished
    one and its logs are kept. `lookahead`: how many may wait for their turn, having been started ahead
    of it; `pool`: how many of a kind wait for any work; `max_wait`: for how many seconds they do."""

    image: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: Sequence[str] = ()
    user: int | None = USER
    resources: Mapping[str, Any] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    priority_class: str = ""
    runtime_class: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    keep_finished: int = 3600
    lookahead: int = 0
    pool: int = 0
    max_wait: int = 600

    @property
    def ttl(self) -> int:
        """Seconds that a Job is kept when it has finished, as it says from the start."""
        return max(self.keep_finished, OUTAGE)

    @property
    def held(self) -> Texts:
        """The annotation of a Job that is to be told another time later."""
        return {Annotation.HELD.value: "true"} if self.keep_finished < OUTAGE else {}


def job_name(runner: RunnerKey) -> str:
    """The name of a runner's Job: a function of what it runs, so that there is only one."""
    return runner_id(runner.run, runner.ref, runner.side, runner.attempt, runner.launch)


def runner_of(order: LaunchOrder) -> RunnerKey:
    """The runner that an order is for."""
    return RunnerKey(order.run, order.ref, order.side, order.attempt, order.launch)


def job(order: LaunchOrder, run: KnownRun, settings: JobSettings, gateway: str) -> Json:
    """The Job for an order; `gateway` is the address that runners call."""
    labels = {**_common(settings), **_labels(order)}
    annotations = {**settings.annotations, **_annotations(order)}
    made = _job(job_name(runner_of(order)), run.namespace, labels, annotations)
    made["metadata"]["annotations"] = {**annotations, **settings.held}
    made["metadata"]["ownerReferences"] = [owner({"metadata": run.metadata})]
    made["spec"]["ttlSecondsAfterFinished"] = settings.ttl
    made["spec"]["template"]["spec"] = _pod(order, settings, gateway)
    deadline = _deadline(order, settings)
    if deadline is not None:
        made["spec"]["activeDeadlineSeconds"] = deadline
    return made


def _job(name: str, namespace: str, labels: Texts, annotations: Texts) -> Json:
    """A Job without its pod's spec."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {"metadata": {"labels": labels, "annotations": annotations}},
        },
    }


def _common(settings: JobSettings) -> Texts:
    """Labels of every runner, whatever it is for."""
    return {**settings.labels, Label.MANAGED_BY.value: MANAGER, Label.COMPONENT.value: "step"}


def _labels(order: LaunchOrder) -> Texts:
    """Labels that say what a Job is for."""
    return {
        Label.RUN.value: order.run,
        Label.SIDE.value: order.side.value,
        Label.ATTEMPT.value: str(order.attempt),
        Label.LAUNCH.value: str(order.launch),
        Label.RUNNER.value: job_name(runner_of(order)),
    }


def _annotations(order: LaunchOrder) -> Texts:
    return {
        Annotation.REF.value: order.ref,
        Annotation.INSTANCE.value: instance_id(order.run, order.ref, order.side),
    }


def _deadline(order: LaunchOrder, settings: JobSettings) -> int | None:
    """Seconds that a Job may take; None for a task that may take any time."""
    task = order.task
    if task.timeout is None:
        return None
    allowed = task.start_timeout + task.timeout + task.grace_period
    return math.ceil(allowed / 1000) + settings.max_wait + LEEWAY


# ----------------------------------------------------------------------------------- idle runners


def may_be_pooled(order: LaunchOrder) -> bool:
    """Whether an idle runner may be given to an order: one of its shape knows no secrets, and has a
    container for each step of the task, in their order."""
    return not order.task.secrets and order.steps == tuple(range(len(order.steps)))


def shape_of(order: LaunchOrder, settings: JobSettings) -> str:
    """What the runners of an order's kind are called: the same for equal pods, but for the token."""
    pod = _pod(replace(order, token=""), settings, "")
    text = json.dumps(pod, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def idle_job(
    order: LaunchOrder, idle: IdleRunner, token: str, settings: JobSettings, gateway: str
) -> Json:
    """The Job of an idle runner in the shape of `order`. Over, it goes by itself."""
    labels = _common(settings)
    made = _job(idle.name, idle.namespace, labels, dict(settings.annotations))
    made["metadata"]["labels"] = {
        **labels,
        Label.POOL.value: shape_of(order, settings),
        Label.IDLE.value: "true",
    }
    made["spec"]["template"]["spec"] = _pod(replace(order, token=token), settings, gateway)
    made["spec"]["activeDeadlineSeconds"] = settings.max_wait + LEEWAY
    made["spec"]["ttlSecondsAfterFinished"] = IDLE_KEPT
    return made


def assignment(order: LaunchOrder, run: KnownRun, settings: JobSettings, age: int) -> list[Json]:
    """The JSON patch that gives an idle runner's Job, of `age` seconds, to an order.

    Refused if it is given away already: the mark that it is idle is tested, and goes.
    """
    mark = _pointer(Label.IDLE)
    patch: list[Json] = [
        {"op": "test", "path": mark, "value": "true"},
        {"op": "remove", "path": mark},
        {
            "op": "add",
            "path": "/metadata/ownerReferences",
            "value": [owner({"metadata": run.metadata})],
        },
        {
            "op": "add",
            "path": "/metadata/annotations",
            "value": {**settings.annotations, **_annotations(order), **settings.held},
        },
        {"op": "replace", "path": "/spec/ttlSecondsAfterFinished", "value": settings.ttl},
    ]
    patch += [
        {"op": "add", "path": _pointer(name), "value": held}
        for name, held in _labels(order).items()
    ]
    deadline = _deadline(order, settings)
    if deadline is None:
        patch.append({"op": "remove", "path": "/spec/activeDeadlineSeconds"})
    else:
        # Counted from the Job's start, which was some time ago.
        value = deadline + age
        patch.append({"op": "replace", "path": "/spec/activeDeadlineSeconds", "value": value})
    return patch


def pod_marks(job: Json) -> Json:
    """The merge patch that has a pod say what it is for, as its Job does now."""
    names = (Label.RUN, Label.SIDE, Label.ATTEMPT, Label.LAUNCH, Label.RUNNER)
    meta = job["metadata"]
    labels = {name.value: meta["labels"][name] for name in names}
    annotations = {key: held for key, held in meta["annotations"].items() if key != Annotation.HELD}
    return {"metadata": {"labels": labels, "annotations": annotations}}


def released(settings: JobSettings) -> Json:
    """The merge patch for a Job whose outcome is recorded."""
    return {
        "metadata": {"annotations": {Annotation.HELD.value: None}},
        "spec": {"ttlSecondsAfterFinished": settings.keep_finished},
    }


def _pointer(label: str) -> str:
    return "/metadata/labels/" + label.replace("~", "~0").replace("/", "~1")


def belongs(item: Json, order: LaunchOrder) -> bool:
    """Whether a Job that is there already is the one that `order` would make."""
    meta = item["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    owners = {each.get("uid") for each in meta.get("ownerReferences") or ()}
    return (
        order.run in owners
        and labels.get(Label.RUN) == order.run
        and labels.get(Label.SIDE) == order.side.value
        and labels.get(Label.ATTEMPT) == str(order.attempt)
        and labels.get(Label.LAUNCH) == str(order.launch)
        and annotations.get(Annotation.REF) == order.ref
    )


def _pod(order: LaunchOrder, settings: JobSettings, gateway: str) -> Json:
    task, number = order.task, settings.user
    user = {} if number is None else {"runAsUser": number, "runAsGroup": number}
    pod: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(task.grace_period / 1000),
        "securityContext": {
            "runAsNonRoot": True,
            **user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            _container(order, settings, gateway, position) for position in range(len(order.steps))
        ],
    }
    if task.secrets:
        pod["volumes"] = [{"name": "secrets", "projected": {"sources": _secrets(order)}}]
    chosen = {
        "nodeSelector": dict(settings.node_selector),
        "tolerations": [dict(each) for each in settings.tolerations],
        "imagePullSecrets": [{"name": name} for name in settings.pull_secrets],
        "priorityClassName": settings.priority_class,
        "runtimeClassName": settings.runtime_class,
    }
    return pod | {key: held for key, held in chosen.items() if held}


def _container(order: LaunchOrder, settings: JobSettings, gateway: str, position: int) -> Json:
    step = order.steps[position]
    environment = {
        Environment.GATEWAY: gateway,
        Environment.TOKEN: order.token,
        Environment.STEP: str(step),
        Environment.MAX_WAIT: str(settings.max_wait),
    }
    container: Json = {
        "name": f"step-{step}",
        "image": order.task.image or settings.image,
        "imagePullPolicy": settings.pull_policy,
        # Why it ended out of order is told with its end: its last lines say more than a number.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": resources(order.task.resources or settings.resources, first=position == 0),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if order.task.secrets:
        # A name may be what no file can be called.
        names = [ref.name for ref in order.task.secrets]
        environment[Environment.SECRETS] = SECRETS
        environment[Environment.SECRET_NAMES] = json.dumps(names)
        container["volumeMounts"] = [{"name": "secrets", "mountPath": SECRETS, "readOnly": True}]
    container["env"] = [{"name": name.value, "value": held} for name, held in environment.items()]
    return container


def resources(wanted: Mapping[str, Any], *, first: bool) -> Json:
    """A container's resources. Steps run one after the other, but their containers stand side by
    side: the first one requests for all, and each has the limits."""
    limits, requests = _amounts(wanted, "limits"), _amounts(wanted, "requests")
    if not first:
        limits = {name: held for name, held in limits.items() if name in SHARED}
        # Said in so many words: what isn't requested would be as much as the limit.
        requests = dict.fromkeys(SHARED & (limits.keys() | requests.keys()), "0")
    shown = {"limits": limits, "requests": requests}
    return {key: dict(sorted(held.items())) for key, held in shown.items() if held}


def _amounts(wanted: Mapping[str, Any], section: str) -> dict[str, str]:
    amounts = wanted.get(section) or {}
    return {name: str(held) for name, held in amounts.items() if held is not None}


def _secrets(order: LaunchOrder) -> list[Json]:
    return [
        {"secret": {"name": ref.secret, "items": [{"key": ref.key, "path": str(number)}]}}
        for number, ref in enumerate(order.task.secrets)
    ]
