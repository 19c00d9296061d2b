"""Runners' logs on Kubernetes: read from their pods, for as long as these are there."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Final

from xaas_core.ports import LogGone, RunnerKey, Unavailable
from xaas_kube.client import METADATA_LIST, ApiError, KubeClient, Params, Unreachable
from xaas_kube.errors import translated
from xaas_kube.jobs import job_name
from xaas_kube.store import KubernetesStore
from xaas_kube.words import Label, jobs, pods

ENDS_WITHIN: Final = 20.0
"""Seconds that a container may take to end after its step."""

KEPT_NAMES: Final = 1000
"""Runners whose pod's name is remembered: a log that is followed is read five times a second."""


NOT_STARTED: Final = 400
"""What is told of a container that hasn't started, by what its kubelet has reported."""

LOOK_AGAIN: Final = 0.2
"""Seconds until a log is asked for again that must be there soon."""


class PodLogs:
    """Implements `xaas_core.ports.Logs`."""

    def __init__(self, client: KubeClient, store: KubernetesStore) -> None:
        self._client = client
        self._store = store
        self._names: OrderedDict[RunnerKey, str] = OrderedDict()

    async def read(
        self, runner: RunnerKey, step: int, offset: int, *, ended: bool = False
    ) -> AsyncIterator[bytes]:
        """See the port. Ends where the log ends now: to follow it, read on from there.

        What a step has just written arrives a moment later at its node: of one that has ended the log
        is followed until its container has ended, too.
        """
        place = self._store.place(runner.run)
        if place is None:
            return
        namespace, _ = place
        name = await self._pod(namespace, runner)
        path = pods(namespace, name, "log")
        wanted: Params = {"container": f"step-{step}", "follow": ended}
        skipped = 0
        try:
            async with asyncio.timeout(ENDS_WITHIN if ended else None):
                async for chunk in self._chunks(path, wanted, patient=ended):
                    # Kubernetes counts lines and times, no bytes: it is read from its beginning.
                    rest = chunk[max(0, offset - skipped) :]
                    skipped += len(chunk)
                    if rest:
                        yield rest
        except TimeoutError:
            return  # it stays for some reason; what it wrote is here
        except ApiError as error:
            if error.code == 404:
                raise _gone(runner) from error
            if error.code != NOT_STARTED:
                raise Unavailable(f"the log of {name} can't be read: {error}") from error
        except Unreachable as error:
            raise Unavailable(str(error)) from error

    async def _chunks(self, path: str, wanted: Params, *, patient: bool) -> AsyncIterator[bytes]:
        """What the log holds. `patient`: it has begun, though the API server may not know yet."""
        while True:
            try:
                async for chunk in self._client.text(path, wanted):
                    yield chunk
                return
            except ApiError as error:
                if not patient or error.code != NOT_STARTED:
                    raise
            await asyncio.sleep(LOOK_AGAIN)

    async def _pod(self, namespace: str, runner: RunnerKey) -> str:
        if runner in self._names:
            self._names.move_to_end(runner)
            return self._names[runner]
        of_runner = f"{Label.RUNNER}={job_name(runner)}"
        found = await self._named(pods(namespace), of_runner)
        if not found:
            # Of a pool, perhaps: then for a while only its Job says whose it is.
            for job in await self._named(jobs(namespace), of_runner):
                found += await self._named(pods(namespace), f"{Label.JOB}={job}")
        if not found:
            raise _gone(runner)
        self._names[runner] = found[0]
        if len(self._names) > KEPT_NAMES:
            self._names.popitem(last=False)
        return found[0]

    async def _named(self, where: str, selector: str) -> list[str]:
        """The names of what a label selects."""
        with translated(where):
            found = await self._client.get(where, {"labelSelector": selector}, METADATA_LIST)
        return [item["metadata"]["name"] for item in found["items"] or ()]


def _gone(runner: RunnerKey) -> LogGone:
    return LogGone(f"the pod of {job_name(runner)} is gone, and its log with it")
