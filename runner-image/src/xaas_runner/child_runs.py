"""`PipelineRun` and `SDKRunner`: how a script runs another pipeline, or a task on its own.

Each is a few calls to the gateway within the step's own attempt. A `create` carries a key that
counts up within this process, so that a repeated call makes no second run; a step's script begins
once per attempt, so the keys of one attempt never start over. The client blocks, so every call
runs in a thread of its own, and several at once with `asyncio.gather` go side by side.

The names in a script are bound to factories (`PipelineRuns`, `SDKRunners`), not to classes: they
carry the step's connection.
"""

import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from xaas_runner.contract import CHILD_PATH, ChildAnswer, ChildCall
from xaas_runner.gateway_client import GatewayClient, Refused
from xaas_runner.params import NotJson, plain
from xaas_runner.sandbox import Handle, expose, keywords_are_data
from xaas_runner.script_objects import Error
from xaas_runner.step_log import Mask
from xaas_runner.threads import in_thread

PATIENCE_MS: Final = 10_000
"""How long one `get` waits for a run to come to rest before it asks again."""

LEAST_PAUSE_S: Final = 0.1
"""Between two of them where the gateway doesn't hold the call."""


class Children:
    """The child calls of one step."""

    def __init__(self, gateway: GatewayClient, step: int, mask: Mask) -> None:
        self._gateway = gateway
        self._step = step
        self._mask = mask
        self._count = itertools.count(1)

    def key(self) -> str:
        """Return a new key for a `create`; drawn when the script calls, not when it is sent."""
        return f"{self._step}.{next(self._count)}"

    async def call(self, message: ChildCall) -> ChildAnswer:
        """Make one call. Raises Error(code, reason) if it is refused."""
        return await in_thread(lambda: self._call(message), f"child-{message['call']}")

    def _call(self, message: ChildCall) -> ChildAnswer:
        try:
            answer: ChildAnswer = self._gateway.call(
                CHILD_PATH, message, held_s=message.get("patience_ms", 0) / 1000
            )
        except Refused as error:
            raise Error(error.code, str(error)) from None
        if "error" in answer:
            raise Error(answer.get("code", 0), answer["error"])
        return answer

    async def create(
        self, kind: str, name: str, parameters: Mapping[str, Any], *, key: str, run: bool
    ) -> ChildAnswer:
        """Create a run of the pipeline or task `name`."""
        try:
            values = self._fit(parameters)
        except NotJson as error:
            text = str(error).replace("params", "parameters", 1)
            raise Error(422, f"{text} (for {name!r})") from None
        message: ChildCall = {"call": "create", "key": key, "name": name, "parameters": values}
        message["kind"] = "task" if kind == "task" else "pipeline"
        message["run"] = run
        return await self.call(message)

    def _fit(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters as JSON. Raises NotJson for what can't be, or mustn't be, stored."""
        values = plain(dict(parameters))
        place = self._mask.place(values)
        if place is not None:
            raise NotJson(place, "holds a secret's value; what a run is given is stored")
        return values

    async def rest(self, id: str) -> str:
        """Wait until the run is at rest and return its state."""
        call: ChildCall = {"call": "get", "id": id, "patience_ms": PATIENCE_MS, "until_rest": True}
        while True:
            since = time.monotonic()
            answer = await self.call(call)
            if answer.get("at_rest"):
                return answer["status"]
            if time.monotonic() - since < LEAST_PAUSE_S:
                await in_thread(lambda: time.sleep(LEAST_PAUSE_S), "child-pause")


class PipelineRun(Handle):
    """One run of a pipeline."""

    def __init__(self, children: Children, instance_id: str) -> None:
        self.__children = children
        self.__instance_id = instance_id

    @property
    def instance_id(self) -> str:
        """The run's id."""
        return self.__instance_id

    async def run(self) -> None:
        """Start it."""
        await self.__children.call({"call": "operate", "id": self.instance_id, "operation": "run"})

    async def cancel(self) -> None:
        """Cancel it: what it did is undone."""
        await self.__children.call(
            {"call": "operate", "id": self.instance_id, "operation": "cancel"}
        )

    async def recovery(self) -> None:
        """Go forwards again after it was aborted."""
        await self.__children.call(
            {"call": "operate", "id": self.instance_id, "operation": "recovery"}
        )

    async def rollback(self) -> None:
        """Undo it after it was complete."""
        await self.__children.call(
            {"call": "operate", "id": self.instance_id, "operation": "rollback"}
        )

    async def waitfor(self) -> str:
        """Wait until it is at rest; return its state: complete, cancelled or aborted."""
        return await self.__children.rest(self.instance_id)

    def __repr__(self) -> str:
        return f"<PipelineRun {self.instance_id}>"


class PipelineRuns(Handle):
    """`PipelineRun` in a script."""

    def __init__(self, children: Children) -> None:
        self.__children = children

    def create(
        self, name: str, parameters: Mapping[str, Any] | None = None, run: bool = False
    ) -> Awaitable[PipelineRun]:
        """Create a run of the pipeline `name`; `run=True` starts it at once. To be awaited."""
        key = self.__children.key()

        async def create() -> PipelineRun:
            answer = await self.__children.create(
                "pipeline", name, parameters or {}, key=key, run=bool(run)
            )
            return PipelineRun(self.__children, answer["id"])

        return create()

    async def load(self, instance_id: str) -> PipelineRun:
        """Return an existing run. Raises Error(404, …) if there is none."""
        await self.__children.call({"call": "get", "id": str(instance_id), "patience_ms": 0})
        return PipelineRun(self.__children, str(instance_id))


class SDKRunner(Handle):
    """Runs PipelineTasks, each on its own: `id = await runner.<task name>(**params)`.

    A name that is no Python identifier: `getattr(runner, "Task-1")(**params)`.
    """

    def __init__(self, children: Children) -> None:
        self.__children = children
        self.__last: str | None = None

    def __getattr__(self, name: str) -> Callable[..., Awaitable[str]]:
        if name.startswith("_"):
            raise AttributeError(name)

        @keywords_are_data
        def run(**params: Any) -> Awaitable[str]:
            key = self.__children.key()

            async def create() -> str:
                answer = await self.__children.create("task", name, params, key=key, run=True)
                self.__last = answer["id"]
                return answer["id"]

            return create()

        return run

    async def waitfor(self, id: str | None = None) -> str:
        """Wait until the task last run (or the one of `id`) is over: `"succeeded"`, `"failed"`."""
        return await self.__children.rest(self.__one(id))

    async def logs(self, id: str | None = None) -> dict[str, list[str]]:
        """Return the log lines of the task last run, by `<runner>.<container>`."""
        answer = await self.__children.call({"call": "logs", "id": self.__one(id)})
        return answer.get("logs", {})

    def __one(self, id: str | None) -> str:
        chosen = id or self.__last
        if chosen is None:
            raise Error(409, "this SDKRunner has run no task yet")
        return chosen


class SDKRunners(Handle):
    """`SDKRunner` in a script."""

    def __init__(self, children: Children) -> None:
        self.__children = children

    async def load(self) -> SDKRunner:
        """Return a runner."""
        return SDKRunner(self.__children)


expose(
    PipelineRun,
    ("instance_id", "run", "cancel", "recovery", "rollback", "waitfor"),
)
expose(PipelineRuns, ("create", "load"))
expose(SDKRunner, ("waitfor", "logs"), dynamic=True)
expose(SDKRunners, ("load",))
