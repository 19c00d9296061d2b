"""The key with which runners' tokens are signed: a Secret that every replica reads.

The operator makes it, not the chart: a key that came anew with every `helm upgrade` would shut out
the runners under way.
"""

import base64
import os
import secrets
from typing import Final

from xaas_kube.client import ApiError, Json, KubeClient

FIELD: Final = "key"
LENGTH: Final = 32


async def read_or_make(client: KubeClient, namespace: str, name: str, owner: str) -> bytes:
    """The key. `owner` is the Deployment that the Secret goes with; empty: it stays.

    Raises ApiError, Unreachable.
    """
    path = f"/api/v1/namespaces/{namespace}/secrets"
    while True:
        try:
            found = await client.get(f"{path}/{name}")
            return base64.b64decode(found["data"][FIELD])
        except ApiError as error:
            if error.code != 404:
                raise
        body: Json = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "type": "Opaque",
            "data": {FIELD: base64.b64encode(secrets.token_bytes(LENGTH)).decode()},
        }
        if owner:
            body["metadata"]["ownerReferences"] = [await _owner(client, namespace, owner)]
        try:
            await client.create(path, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":  # another replica was quicker
                raise


async def _owner(client: KubeClient, namespace: str, name: str) -> Json:
    deployment = await client.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": name,
        "uid": deployment["metadata"]["uid"],
    }


def deployment_name() -> str:
    """The Deployment that this pod is of, as it was told; empty outside of one."""
    return os.environ.get("DEPLOYMENT_NAME", "")
