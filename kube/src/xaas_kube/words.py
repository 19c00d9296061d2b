"""What the product's objects are called on Kubernetes: kinds, paths, labels, annotations."""

from enum import StrEnum
from typing import Final
from urllib.parse import quote

GROUP: Final = "xaas.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"


class Resource(StrEnum):
    """Plurals, as in paths and in RBAC."""

    TASKS = "pipelinetasks"
    PIPELINES = "pipelines"
    RUNS = "pipelineruns"
    TASK_RUNS = "pipelinetaskruns"


KINDS: Final = {
    Resource.TASKS: "PipelineTask",
    Resource.PIPELINES: "Pipeline",
    Resource.RUNS: "PipelineRun",
    Resource.TASK_RUNS: "PipelineTaskRun",
}


class Label(StrEnum):
    """Labels of our objects, of Jobs and of pods."""

    RUN = "xaas.dev/run"  # uid of the run that it belongs to
    SIDE = "xaas.dev/process-type"  # do or undo
    ATTEMPT = "xaas.dev/attempt"
    LAUNCH = "xaas.dev/launch"
    OVER = "xaas.dev/over"  # of a run that is put aside: to which nothing will happen any more
    TARGET = "xaas.dev/target"  # PipelineTask: a hidden run of one task
    RUNNER = "xaas.dev/runner"  # of a Job and its pod: whose they are, as REST names it
    POOL = "xaas.dev/pool"  # of a Job that is or was an idle runner: its shape
    IDLE = "xaas.dev/idle"  # of one that still is
    KEY = "xaas.dev/idempotency-key"  # digest of the Idempotency-Key that it was made with
    JOB = "batch.kubernetes.io/job-name"  # of a pod: Kubernetes' own
    MANAGED_BY = "app.kubernetes.io/managed-by"
    COMPONENT = "app.kubernetes.io/component"  # step: a pod that runs users' scripts


MANAGER: Final = "xaas-pipeline"
"""Value of `Label.MANAGED_BY`, and our name as a field manager."""


class Annotation(StrEnum):
    """Annotations: what no label can hold."""

    REF = "xaas.dev/ref"
    HELD = "xaas.dev/held"  # of a Job that is to be kept shorter, once its outcome is recorded
    INSTANCE = "xaas.dev/instance-id"  # of a task run, as REST and notifications have it
    BODY = "xaas.dev/body-digest"  # of the POST that came with an Idempotency-Key
    CREATED = "xaas.dev/created-at"  # RFC 3339 with nanoseconds: the server's own is in seconds
    REVISION = "xaas.dev/revision"  # changes with every PUT, also of what is there already
    WRITTEN = "xaas.dev/as-written"  # free-form JSON that the API server changed (`exact.py`)
    CATEGORY = "xaas.dev/category"  # of the run's Pipeline, when it was made
    ASKED = "xaas.dev/asked"  # ids of the operations before the present one


FINALIZER: Final = "xaas.dev/stop"
"""On runs that aren't over: what runs is stopped first when one is deleted."""


def path(resource: Resource, namespace: str | None, name: str = "", part: str = "") -> str:
    """The path of our objects: of all namespaces, of one, or of one object, or a part of that."""
    found = f"/apis/{API_VERSION}"
    if namespace is not None:
        found += f"/namespaces/{quote(namespace, safe='')}"
    found += f"/{resource}"
    if name:
        found += f"/{quote(name, safe='')}"
    return f"{found}/{part}" if part else found


def jobs(namespace: str | None, name: str = "") -> str:
    """The path of Jobs."""
    return _path("/apis/batch/v1", namespace, "jobs", name)


def pods(namespace: str | None, name: str = "", part: str = "") -> str:
    """The path of pods."""
    found = _path("/api/v1", namespace, "pods", name)
    return f"{found}/{part}" if part else found


def revisions(namespace: str, name: str = "") -> str:
    """The path of ControllerRevisions, which hold plans."""
    return _path("/apis/apps/v1", namespace, "controllerrevisions", name)


def _path(group: str, namespace: str | None, plural: str, name: str) -> str:
    found = group if namespace is None else f"{group}/namespaces/{quote(namespace, safe='')}"
    found += f"/{plural}"
    return f"{found}/{quote(name, safe='')}" if name else found
