"""A Lease: of several replicas one is the leader.

Theory of operation. The leader renews the Lease; the others watch whether it does. Whether the Lease
has expired is judged by when its holder's renewals were *seen*, by the own clock: clocks of different
machines are never compared. Every write is guarded, so of two that take an expired Lease one gets it.

A leader that couldn't renew for `RENEW_WITHIN` stops leading before anybody else can begin: the time
that others wait (`EXPIRES_AFTER`) is longer.
"""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Final

from xaas_kube.client import ApiError, Json, KubeClient, Unreachable

EXPIRES_AFTER: Final = 15.0
"""Seconds without a renewal after which another one may take the Lease."""

RENEW_WITHIN: Final = 10.0
"""Seconds without a renewal after which its holder gives up."""

EVERY: Final = 2.0
"""Seconds between two renewals."""

LOOK_EVERY: Final = 0.5
"""Seconds between two looks of those who wait: a leader that goes in peace gives the Lease back."""

log = logging.getLogger(__name__)


class Lost(Exception):
    """The Lease is somebody else's, or couldn't be renewed: who was the leader must end."""


class Lease:
    """The Lease `name` in `namespace`, as it looks to the one called `identity`."""

    def __init__(self, client: KubeClient, namespace: str, name: str, identity: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._seen: tuple[str, float] = ("", 0.0)  # the version that was seen last, and when
        self._renewed = 0.0

    async def acquire(self) -> None:
        """Wait until it is ours. From then on it has to be kept."""
        while True:
            self._renewed = asyncio.get_running_loop().time()
            if await self._try():
                return
            await asyncio.sleep(LOOK_EVERY)

    async def keep(self) -> None:
        """Renew it for ever. Raises Lost."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(EVERY)
            began = loop.time()
            try:
                async with asyncio.timeout(self._renewed + RENEW_WITHIN - began):
                    mine = await self._renew()
            except TimeoutError:
                raise Lost(f"the Lease {self._name} couldn't be renewed in time") from None
            if mine is False:
                raise Lost(f"the Lease {self._name} is somebody else's now")
            if mine:
                self._renewed = began

    async def release(self) -> None:
        """Give it back, so that another one needn't wait until it expires."""
        try:
            lease = await self._client.get(f"{self._path}/{self._name}")
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"]["holderIdentity"] = ""
                await self._client.replace(f"{self._path}/{self._name}", lease)
        except (ApiError, Unreachable) as error:
            log.warning("the Lease %s can't be given back: %s", self._name, error)

    async def _try(self) -> bool:
        """Take it if nobody has it, or its holder is silent for too long."""
        try:
            lease = await self._client.get(f"{self._path}/{self._name}")
        except ApiError as error:
            return await self._create() if error.code == 404 else self._failed(error)
        except Unreachable as error:
            return self._failed(error)
        holder = lease["spec"].get("holderIdentity")
        now, version = asyncio.get_running_loop().time(), lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, now)
        silent = now - self._seen[1] > EXPIRES_AFTER
        if holder and holder != self._identity and not silent:
            return False
        transitions = int(lease["spec"].get("leaseTransitions") or 0)
        lease["spec"] = self._spec() | {"leaseTransitions": transitions + 1}
        return await self._write(lease)

    async def _create(self) -> bool:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec() | {"leaseTransitions": 0},
        }
        try:
            await self._client.create(self._path, body)
        except (ApiError, Unreachable) as error:
            return self._failed(error)
        return True

    async def _renew(self) -> bool | None:
        """Whether it is still ours; None if that can't be told now."""
        try:
            lease = await self._client.get(f"{self._path}/{self._name}")
            if lease["spec"].get("holderIdentity") != self._identity:
                return False
            lease["spec"]["renewTime"] = _now()
            await self._client.replace(f"{self._path}/{self._name}", lease)
        except ApiError as error:
            self._failed(error)
            return False if error.code == 404 else None
        except Unreachable as error:
            self._failed(error)
            return None
        return True

    async def _write(self, lease: Json) -> bool:
        try:
            await self._client.replace(f"{self._path}/{self._name}", lease)
        except (ApiError, Unreachable) as error:
            return self._failed(error)
        return True

    def _spec(self) -> Json:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(EXPIRES_AFTER),
            "acquireTime": _now(),
            "renewTime": _now(),
        }

    def _failed(self, error: Exception) -> bool:
        log.warning("the Lease %s: %s", self._name, error)
        return False


def _now() -> str:
    # For those who look at it; nobody decides by it.
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
