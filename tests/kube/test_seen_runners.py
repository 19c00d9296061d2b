"""The memory of Jobs and pods."""

from typing import Any

from xaas_core.engine.facts import Phase
from xaas_core.engine.states import Side
from xaas_core.ports import LaunchOrder
from xaas_core.testing.builders import task_plan
from xaas_kube.jobs import JobSettings, job
from xaas_kube.run_index import known_run
from xaas_kube.seen_runners import SeenRunners
from xaas_kube.sightings import sight
from xaas_kube.words import Label

RUN = "6e1f0c52-6b2e-4c62-9a53-0a2f52a4d1f0"
KEY = ("a", Side.DO)


def job_item() -> dict[str, Any]:
    meta = {"uid": RUN, "namespace": "default", "name": "r", "resourceVersion": "1"}
    run = known_run(
        {"metadata": meta | {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"name": "p"}}
    )
    order = LaunchOrder(RUN, "default", "a", Side.DO, 1, 1, (0,), task_plan("a"), "token")
    item = job(order, run, JobSettings(image="runner"), "http://10.0.0.1:8082")
    item["metadata"] |= {"uid": "job", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return item


def pod_item(name: str, phase: str = "Running") -> dict[str, Any]:
    """A pod that was idle, and doesn't say yet whose it is."""
    return {
        "metadata": {
            "uid": "pod",
            "namespace": "default",
            "name": f"{name}-x",
            "labels": {Label.JOB.value: name},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"containers": [{"name": "step-0"}]},
        "status": {"phase": phase},
    }


def test_a_job_that_is_gone_is_there_as_long_as_its_pod_runs() -> None:
    for ends in (True, False):
        changed: list[str] = []
        seen = SeenRunners(changed.append)
        item = job_item()
        seen.jobs.seen(item)
        seen.pods.seen(pod_item(item["metadata"]["name"]))
        seen.jobs.gone("job")
        (left,) = seen.of(RUN, KEY, "default")
        told = sight(left, seen.pods_of(left.namespace, left.name))
        assert (told.phase, told.ending) == (Phase.LIVE, True)
        assert [each.uid for each in seen.alive(RUN)] == ["pod"]
        changed.clear()
        if ends:
            seen.pods.seen(pod_item(item["metadata"]["name"], "Succeeded"))
        else:
            seen.pods.gone("pod")
        assert seen.of(RUN, KEY, "default") == []
        assert seen.alive(RUN) == []
        assert set(changed) == {RUN}


def test_a_job_without_a_pod_goes_at_once() -> None:
    changed: list[str] = []
    seen = SeenRunners(changed.append)
    seen.jobs.seen(job_item())
    seen.jobs.gone("job")
    assert seen.of(RUN, KEY, "default") == []
    assert changed == [RUN, RUN]
