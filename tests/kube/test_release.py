"""Before an uninstall, on a real API server: what would be left behind, and wait for ever."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from xaas_core.engine.states import Side
from xaas_core.ports import LaunchOrder
from xaas_core.testing.builders import task_plan
from xaas_core.tokens import IdleRunner
from xaas_kube.client import KubeClient
from xaas_kube.jobs import JobSettings, idle_job, job
from xaas_kube.run_index import known_run
from xaas_kube.words import jobs, pods
from xaas_operator.release import end_runners, stop

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

Json = dict[str, Any]
PLACE = "release"
UID = "8b0f0e9e-0000-4000-8000-000000000003"
ORDER = LaunchOrder(UID, PLACE, "a", Side.DO, 1, 1, (0,), task_plan("a"), "token")
SETTINGS = JobSettings(image="runner")
GATEWAY = "http://10.0.0.1:8082"
META = {"uid": UID, "namespace": PLACE, "name": "r", "resourceVersion": "1"}
RUN = known_run(
    {"metadata": META | {"creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"name": "p"}}
)


async def test_runners_are_ended_but_for_those_that_have_ended(client: KubeClient) -> None:
    running = await client.create(jobs(PLACE), job(ORDER, RUN, SETTINGS, GATEWAY))
    ended = job(replace(ORDER, attempt=2), RUN, SETTINGS, GATEWAY)
    name = (await client.create(jobs(PLACE), ended))["metadata"]["name"]
    why = {"status": "True", "reason": "BackoffLimitExceeded", "message": "it failed"}
    status = {"startTime": "2026-01-01T00:00:00Z"}
    status["conditions"] = [{"type": each, **why} for each in ("FailureTarget", "Failed")]  # type: ignore[assignment]
    await client.patch(f"{jobs(PLACE, name)}/status", {"status": status})
    idle = IdleRunner(PLACE, "xaas-idle-1")
    await client.create(jobs(PLACE), idle_job(ORDER, idle, "token", SETTINGS, GATEWAY))
    foreign: Json = {**running, "metadata": {"name": "foreign"}}
    foreign["metadata"]["labels"] = running["metadata"]["labels"]
    for made_up in ("selector", "template"):
        foreign["spec"].pop(made_up)
    foreign["spec"]["template"] = job(ORDER, RUN, SETTINGS, GATEWAY)["spec"]["template"]
    await client.create(jobs(PLACE), foreign)

    await end_runners(client, PLACE)

    left = (await client.get(jobs(PLACE)))["items"]
    alive = {e["metadata"]["name"] for e in left if "deletionTimestamp" not in e["metadata"]}
    assert alive == {name, "foreign"}


async def test_a_pod_that_was_evicted_holds_up_nothing(client: KubeClient) -> None:
    labels = {"app": "operator"}
    container = {"name": "c", "image": "operator"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployments = f"/apis/apps/v1/namespaces/{PLACE}/deployments"
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    await client.create(deployments, {"metadata": {"name": "operator"}, "spec": spec})
    try:
        await client.create(pods(PLACE), {**template, "metadata": {"name": "p", "labels": labels}})
        stopping = asyncio.create_task(stop(client, PLACE, "operator"))
        await asyncio.sleep(1)
        assert not stopping.done(), "it may still work"
        await client.patch(pods(PLACE, "p", "status"), {"status": {"phase": "Failed"}})
        await asyncio.wait_for(stopping, 10)
    finally:
        await client.delete(f"{deployments}/operator")
