"""Why pods don't start, where their status doesn't say: the events know.

Events have no watch of ours: there are many, of everything in the cluster. They are asked for when a pod
waits for longer than is usual, and once for all that wait in a namespace: whatever is asked for, the API
server reads every event of the namespace.
"""

import asyncio
import logging
from typing import Final

from xaas_kube.client import ApiError, Json, KubeClient, Unreachable
from xaas_kube.seen_runners import SeenRunners
from xaas_kube.sightings import SeenJob, SeenPod

LOOK_EVERY: Final = 2.0
"""Seconds between looks."""

Waiting = tuple[SeenJob, SeenPod | None]
"""A Job whose pod hasn't started, or that has none yet."""

log = logging.getLogger(__name__)


class Explanations:
    """Notes in `seen` why what waits doesn't start."""

    def __init__(self, client: KubeClient, seen: SeenRunners) -> None:
        self._client = client
        self._seen = seen

    async def look(self) -> None:
        """Look for explanations, for ever."""
        before: set[str] = set()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            waiting = {_uid(seen, pod): (seen, pod) for seen, pod in self._seen.waiting()}
            # Whoever waited at the last look, too, waits for longer than is usual.
            late = [each for uid, each in waiting.items() if uid in before]
            for namespace in {seen.namespace for seen, _ in late}:
                await self._explain(
                    namespace, [each for each in late if each[0].namespace == namespace]
                )
            before = set(waiting)

    async def _explain(self, namespace: str, late: list[Waiting]) -> None:
        path, selector = f"/api/v1/namespaces/{namespace}/events", "type=Warning"
        if len(late) == 1:
            selector += f",involvedObject.uid={_uid(*late[0])}"
        try:
            found = await self._client.get(path, {"fieldSelector": selector})
        except (ApiError, Unreachable) as error:
            log.warning("can't read why pods don't start in %s: %s", namespace, error)
            return
        events = sorted(found["items"], key=_last_seen)
        newest = {each["involvedObject"].get("uid"): each for each in events}
        for seen, pod in late:
            event = newest.get(_uid(seen, pod))
            if event is None:
                continue
            text = f"{event.get('reason')}: {event.get('message')}"
            if pod is not None:
                self._seen.explain(pod, text)
            else:
                self._seen.explain_job(seen, text)


def _uid(seen: SeenJob, pod: SeenPod | None) -> str:
    """Of what events are about: the pod, or the Job that has none."""
    return seen.uid if pod is None else pod.uid


def _last_seen(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
