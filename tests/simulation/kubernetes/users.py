"""What users do: by REST, which writes through the API's store, and with kubectl, which patches."""

import asyncio
from typing import Any

from tests.simulation.faults import Scenario
from tests.simulation.kubernetes.api_server import ApiServer
from tests.simulation.kubernetes.client import SimulatedClient
from tests.simulation.kubernetes.kube_weather import KubeWeather
from tests.simulation.kubernetes.operators import Api
from tests.simulation.kubernetes.virtual_loop import Process
from tests.simulation.rules import check
from tests.simulation.witness import Witness
from tests.simulation.world import definitions, run_of

from xaas_core.engine.facts import Request
from xaas_core.engine.states import Operation
from xaas_core.models.pipeline_run import Target
from xaas_core.ports import Conflict, Idempotency, Kind, NotFound, OperationPending, Unavailable
from xaas_kube import run_objects
from xaas_kube.client import ApiError, Json
from xaas_kube.store import KubernetesStore
from xaas_kube.words import Resource, path

NAMESPACE = "default"
AGAIN = 0.5
"""Seconds until a user who was refused for now tries again."""


class Users:
    """All users. `uid` is that of the run that they have made."""

    def __init__(
        self,
        scenario: Scenario,
        witness: Witness,
        weather: KubeWeather,
        server: ApiServer,
        api: Api,
    ) -> None:
        self._scenario = scenario
        self._witness = witness
        self._weather = weather
        self._server = server
        self._api = api
        self._process = Process("user")
        self._kubectl = SimulatedClient(server, self._process, weather.calm())
        self._count = 0
        self.busy = 0
        self.uid = ""

    @property
    def run(self) -> Json | None:
        """The run's object; None if it is gone."""
        return self._server.by_uid(self.uid)

    async def create(self) -> None:
        """Write the definitions and the run."""
        store = await self._store()
        after = self._scenario.definitions_after
        if after == 0:
            await self._define()
        spec = run_of(self._scenario.run)
        request = Request("first", Operation.RUN) if self._scenario.begin else None
        if request is not None:
            self._witness.requests[request.id] = "run"
        key = Idempotency("key", "digest")
        made = await store.create_run(NAMESPACE, spec, Target.PIPELINE, request, key)
        self.uid = made.meta.uid
        again = await store.create_run(NAMESPACE, spec, Target.PIPELINE, request, key)
        check(made.meta.uid == again.meta.uid, "I9: one key, two runs")
        if after:
            await asyncio.sleep(after / 1000)
            await self._define()

    def ask(self, operation: str) -> None:
        """Ask for something."""
        self._count += 1
        self._weather.note("USER asks for %s", operation)
        self.busy += 1
        self._process.spawn(self._ask(operation, f"r{self._count}"), operation)

    async def _ask(self, operation: str, id_: str) -> None:
        try:
            for _ in range(40):
                try:
                    if self._weather.chance.may(0.5, "by kubectl", id_):
                        await self._patch(operation, id_)
                    else:
                        await self._rest(operation, id_)
                    return
                except (OperationPending, Unavailable, Conflict, ApiError) as error:
                    self._weather.note("not yet: %r", error)
                    if isinstance(error, ApiError) and error.code not in (404, 409, 422):
                        raise
                    if self.run is None:
                        return
                    await asyncio.sleep(AGAIN)
        except NotFound:
            check(self._witness.removed, "the run is gone")
        finally:
            self.busy -= 1

    async def _rest(self, operation: str, id_: str) -> None:
        store = await self._store()
        if operation in ("suspend", "resume"):
            await store.suspend(self.uid, operation == "suspend")
            self._suspended(operation)
        elif operation == "delete":
            await store.mark_deleting(self.uid)
        elif operation == "redefine":
            if await store.plan(self.uid) is not None:
                await self._define(changed=True)
        else:
            self._witness.requests[id_] = operation
            try:
                await store.request(self.uid, Request(id_, Operation(operation)))
            except BaseException:
                self._witness.requests.pop(id_, None)
                raise

    async def _patch(self, operation: str, id_: str) -> None:
        """As kubectl does."""
        if self.run is None:
            raise NotFound("gone")
        where = path(Resource.RUNS, NAMESPACE, self.run["metadata"]["name"])
        if operation in ("suspend", "resume"):
            await self._kubectl.patch(where, {"spec": {"suspend": operation == "suspend"}})
            self._suspended(operation)
        elif operation == "delete":
            policy = "Foreground" if self._weather.chance.may(0.3, "policy") else "Background"
            await self._kubectl.delete(where, {"propagationPolicy": policy})
        elif operation == "redefine":
            await self._rest(operation, id_)
        else:
            item = await self._kubectl.get(where)
            if run_objects.read(item).pending_request is not None:
                raise OperationPending("kubectl waits for the answer before")
            version = item["metadata"]["resourceVersion"]
            wish = {"operation": {"name": operation, "id": id_}}
            self._witness.requests[id_] = operation
            try:
                body: Any = {"metadata": {"resourceVersion": version}, "spec": wish}
                await self._kubectl.patch(where, body)
            except BaseException:
                self._witness.requests.pop(id_, None)
                raise

    def _suspended(self, operation: str) -> None:
        loop: Any = asyncio.get_running_loop()
        self._witness.suspended_since = loop.turns if operation == "suspend" else None

    async def _define(self, changed: bool = False) -> None:
        store = await self._store()
        tasks, pipeline = definitions(self._scenario.run, changed)
        for task in tasks:
            if changed:
                await store.replace_definition(Kind.TASK, NAMESPACE, task, None)
            else:
                await store.create_definition(Kind.TASK, NAMESPACE, task, None)
        if changed:
            await store.delete_definition(Kind.PIPELINE, NAMESPACE, pipeline.name, None)
        await store.create_definition(Kind.PIPELINE, NAMESPACE, pipeline, None)

    async def _store(self) -> KubernetesStore:
        await self._api.started.wait()
        assert self._api.store is not None
        return self._api.store


class Reader:
    """A reader of the changes, as notifications and streams are: it goes on where it was."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.read: dict[str, int] = {}
        """The greatest number of each run that came, all before it having come, too."""

    async def follow(self) -> None:
        """Read for ever."""
        cursor: str | None = None
        known: KubernetesStore | None = None
        while True:
            await self._api.started.wait()
            store = self._api.store
            assert store is not None
            if store is not known and cursor is not None:
                cursor = await store.resume(cursor)
            known = store
            for logged in await store.changes(cursor, 100):
                cursor = logged.cursor
                most = self.read.get(logged.run, 0)
                check(logged.sequence <= most + 1, "I8: a gap before %s", logged)
                self.read[logged.run] = max(most, logged.sequence)
            await asyncio.sleep(0.5)
