"""Whether definitions can be used: their `Ready` condition.

REST refuses what isn't valid; kubectl can write it all the same. Then the object says why it can't be
used, and becomes ready by itself when it is mended, or what it lacked is there.
"""

import logging
from functools import partial
from typing import Any, Final

from xaas_core.admission import Admission, Refused
from xaas_core.clock import SystemClock
from xaas_core.models.pipeline import PipelineSpec
from xaas_core.ports import Conflict, Kind, NotFound, StoreError, Unavailable
from xaas_core.queue import KeyedQueue
from xaas_kube import definition_objects as objects
from xaas_kube.client import Json, KubeClient
from xaas_kube.conditions import condition, kept
from xaas_kube.definition_store import DefinitionIndex
from xaas_kube.errors import translated
from xaas_kube.store import KubernetesStore
from xaas_kube.words import path

WORKERS: Final = 8

log = logging.getLogger(__name__)


class Readiness:
    """Keeps the `Ready` conditions true. `run` it as a task.

    kopf tells of an object that changed (`changed`), our own memory of who depends on it (`_noticed`).
    """

    def __init__(self, client: KubeClient, store: KubernetesStore, admission: Admission) -> None:
        self._client = client
        self._store = store
        self._admission = admission
        self._clock = SystemClock()
        self.queue = KeyedQueue(self._check, self._failed, WORKERS)

    async def run(self) -> None:
        """Work until cancelled."""
        for kind in Kind:
            self._index(kind).noticed = partial(self._noticed, kind)
        await self.queue.run()

    def changed(self, kind: Kind, item: Json) -> None:
        """An object was written or removed: look at it."""
        self.queue.add(_key(kind, item))

    def _noticed(self, kind: Kind, item: Json) -> None:
        """Our memory knows of a change now: look at who claims the same name, and who needs it."""
        namespace, name = item["metadata"]["namespace"], objects.name_of(item)
        for rival in self._index(kind).claims(namespace, name):
            self.queue.add(_key(kind, rival))
        if kind is Kind.TASK:
            for pipeline in self._index(Kind.PIPELINE).held(namespace):
                if any(task.get("name") == name for task in pipeline["spec"].get("tasks") or ()):
                    self.queue.add(_key(Kind.PIPELINE, pipeline))

    def _index(self, kind: Kind) -> DefinitionIndex:
        return self._store.definitions[kind]

    async def _check(self, key: str) -> float | None:
        kind, namespace, name = Kind(key.split("/", 2)[0]), *key.split("/", 2)[1:]
        where = path(objects.RESOURCES[kind], namespace, name)
        try:
            with translated(key):
                item = await self._client.get(where)
            ready = await self._judge(kind, item)
            await self._write(where, item, ready)
        except NotFound:
            return None
        except Conflict:
            return 0.0  # it was written meanwhile: look again
        return None

    async def _judge(self, kind: Kind, item: Json) -> Json:
        """The condition that the object should have."""
        reason, message = await self._problem(kind, item)
        now = self._clock.now()
        if reason:
            return condition("Ready", "False", reason, message, now)
        return condition("Ready", "True", "Valid", "it can be used", now)

    async def _problem(self, kind: Kind, item: Json) -> tuple[str, str]:
        """Why it can't be used: reason and message; two empty texts if it can."""
        namespace, name = item["metadata"]["namespace"], objects.name_of(item)
        claims = self._index(kind).claims(namespace, name)
        uid = item["metadata"]["uid"]
        older = [each for each in claims if each["metadata"]["uid"] != uid]
        if older and objects.age(older[0]) < objects.age(item):
            other = older[0]["metadata"]["name"]
            return "NameTaken", f"the {kind} object {other!r} has the name {name!r} already"
        try:
            spec = objects.read(kind, item).spec
            await self._admission.admit(kind, namespace, spec)
        except objects.Unreadable as error:
            return "Invalid", str(error)
        except Refused as refused:
            return "Invalid", str(refused)
        return self._lacks(namespace, spec) if isinstance(spec, PipelineSpec) else ("", "")

    def _lacks(self, namespace: str, spec: PipelineSpec) -> tuple[str, str]:
        """What of a pipeline's tasks can't be used, as `_problem`."""
        missing, invalid = [], []
        for task in spec.tasks:
            needs = f"task {task.ref!r} needs the PipelineTask {task.name!r}"
            claims = self._index(Kind.TASK).claims(namespace, task.name)
            if not claims:
                missing.append(needs)
            elif wrong := _wrong(claims[0]):
                invalid.append(f"{needs}, which can't be used: {wrong}")
        if missing:
            return "DefinitionMissing", "; ".join(missing) + ", which isn't there"
        return ("DefinitionInvalid", "; ".join(invalid)) if invalid else ("", "")

    async def _write(self, where: str, item: Json, ready: Json) -> None:
        status: dict[str, Any] = item.get("status") or {}
        ready = kept(ready, status.get("conditions"))
        wanted = {"observedGeneration": item["metadata"]["generation"], "conditions": [ready]}
        if {key: status.get(key) for key in wanted} == wanted:
            return
        version = {"resourceVersion": item["metadata"]["resourceVersion"]}
        with translated(where):
            await self._client.patch(f"{where}/status", {"metadata": version, "status": wanted})

    def _failed(self, key: str, error: Exception) -> None:
        if isinstance(error, Unavailable | StoreError):
            log.warning("%s can't be looked at yet: %s", key, error)
        else:
            log.error("%s can't be looked at, trying again", key, exc_info=error)


def _wrong(item: Json) -> str:
    """Why a definition can't be used, as its condition says; empty if it doesn't, or not yet."""
    conditions = (item.get("status") or {}).get("conditions") or ()
    ready = next((each for each in conditions if each["type"] == "Ready"), None)
    return str(ready["message"]) if ready is not None and ready["status"] == "False" else ""


def _key(kind: Kind, item: Json) -> str:
    return f"{kind.value}/{item['metadata']['namespace']}/{item['metadata']['name']}"
