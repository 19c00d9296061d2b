"""Let go of all runs: what is done before the product is uninstalled.

A run that isn't over has a finalizer that the operator releases. Without an operator nobody would, and
neither the run nor its namespace could ever be deleted. The operator is stopped first, for it would hold
on to what it plans meanwhile, and the API, for it would make runs. Runners are ended: they would wait
for a gateway that never comes back.
"""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final
from urllib.parse import quote

from xaas_core.ports import Conflict, NotFound
from xaas_kube.client import JSON_PATCH, ApiError, Json, KubeClient
from xaas_kube.errors import translated
from xaas_kube.informer import PAGE
from xaas_kube.launcher import SELECTOR
from xaas_kube.runs import list_all
from xaas_kube.sightings import is_ours, read_job
from xaas_kube.words import FINALIZER, Label, Resource, jobs, path, pods

POLL: Final = 0.5
"""Seconds between looks at whether the operator's pods are gone."""

ALIVE: Final = "status.phase!=Failed,status.phase!=Succeeded"

GONE: Final = frozenset({404, 409, 422})
"""What is told of a run that somebody else has let go of, or removed, meanwhile."""


async def release_all(kubeconfig: Path | None) -> int:
    """Take the finalizer off every run; the answer is of how many. Raises ApiError, Unreachable."""
    client = await KubeClient.connect(kubeconfig)
    released = 0
    try:
        namespace = os.environ.get("POD_NAMESPACE")
        for name in map(os.environ.get, ("DEPLOYMENT_NAME", "API_DEPLOYMENT_NAME")):
            if namespace and name:
                await stop(client, namespace, name)
        await end_runners(client)
        params: dict[str, str | int | None] = {"limit": PAGE}
        while True:
            found = await client.get(path(Resource.RUNS, None), params)
            for item in found["items"]:
                released += await _release(client, item)
            params["continue"] = found["metadata"].get("continue")
            if not params["continue"]:
                return released
    except ApiError as error:
        if error.code != 404:  # the kind itself is gone
            raise
        return released
    finally:
        await client.close()


async def stop(client: KubeClient, namespace: str, name: str) -> None:
    """Stop a Deployment, and wait until none of its pods is left that could do anything."""
    where = f"/apis/apps/v1/namespaces/{quote(namespace)}/deployments/{quote(name)}"
    try:
        deployment = await client.get(where)
    except ApiError as error:
        if error.code == 404:
            return  # it is gone already
        raise
    await client.patch(f"{where}/scale", {"spec": {"replicas": 0}})
    labels = deployment["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    # One that has ended (evicted, say) stays there for as long as nobody removes it.
    alive = {"labelSelector": selector, "fieldSelector": ALIVE}
    while (await client.get(pods(namespace), alive))["items"]:  # noqa: ASYNC110 - it is asked for
        await asyncio.sleep(POLL)


async def end_runners(client: KubeClient, namespace: str | None = None) -> None:
    """Remove the Jobs that run, wait or are idle; those that have ended are kept, for their logs."""
    for item in await list_all(client, jobs(namespace), SELECTOR):
        meta = item["metadata"]
        if Label.IDLE not in meta["labels"] and (not is_ours(item) or read_job(item).finished):
            continue
        options = {"preconditions": {"uid": meta["uid"]}, "propagationPolicy": "Background"}
        with contextlib.suppress(NotFound, Conflict), translated("Job"):
            await client.delete(jobs(meta["namespace"], meta["name"]), options)


async def _release(client: KubeClient, item: Json) -> int:
    meta = item["metadata"]
    kept = [each for each in meta.get("finalizers") or () if each != FINALIZER]
    if len(kept) == len(meta.get("finalizers") or ()):
        return 0
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
        {"op": "replace", "path": "/metadata/finalizers", "value": kept},
    ]
    try:
        await client.patch(path(Resource.RUNS, meta["namespace"], meta["name"]), patch, JSON_PATCH)
    except ApiError as error:
        if error.code not in GONE:
            raise
        return 0
    return 1
