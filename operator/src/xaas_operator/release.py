"""Let go of all runs: what is done before the product is uninstalled.

A run that isn't over has a finalizer that the operator releases. Without an operator nobody would, and
neither the run nor its namespace could ever be deleted.
"""

import contextlib
from pathlib import Path

from xaas_kube.client import JSON_PATCH, ApiError, Json, KubeClient
from xaas_kube.informer import PAGE
from xaas_kube.words import FINALIZER, Resource, path


async def release_all(kubeconfig: Path | None) -> int:
    """Take the finalizer off every run; the answer is of how many. Raises ApiError, Unreachable."""
    client = await KubeClient.connect(kubeconfig)
    released = 0
    try:
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


async def _release(client: KubeClient, item: Json) -> int:
    meta = item["metadata"]
    kept = [each for each in meta.get("finalizers") or () if each != FINALIZER]
    if len(kept) == len(meta.get("finalizers") or ()):
        return 0
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
        {"op": "replace", "path": "/metadata/finalizers", "value": kept},
    ]
    with contextlib.suppress(ApiError):  # it is gone already
        await client.patch(path(Resource.RUNS, meta["namespace"], meta["name"]), patch, JSON_PATCH)
    return 1
