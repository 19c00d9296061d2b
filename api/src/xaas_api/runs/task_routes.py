"""Routes of task runs and their logs."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from pydantic import BeforeValidator, Field
from starlette.responses import Response, StreamingResponse

from xaas_api.answers import answer
from xaas_api.errors import ProblemType
from xaas_api.openapi import gives, problems, text
from xaas_api.queries import Flag, InNamespace, RunPath, whole
from xaas_api.runs import schemas
from xaas_api.runs.logs import LogReader
from xaas_api.runs.routes import PATH, find_run
from xaas_api.runs.views import TaskRuns, recorded
from xaas_api.services import Services
from xaas_core.engine.states import Side
from xaas_core.ports import NotFound

TASKS: Final = PATH + "/{instance_id:segment}/tasks"
ONE: Final = TASKS + "/{ref:segment}/{process_type:segment}"
LOGS: Final = ONE + "/logs"

RefPath = Annotated[str, Path(description="The task's ref; `/` is written `%2F`.")]
SidePath = Annotated[
    str, Path(description="Which of its task runs.", json_schema_extra={"enum": list(Side)})
]


class LogQuery(InNamespace):
    """Which part of a log."""

    step: Annotated[int, Field(ge=0, le=9999), BeforeValidator(whole)] | None = None
    """This step only, from 0."""
    follow: Flag = False
    """Go on until the task run is over."""


class Tasks:
    """The routes."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def list_all(
        self, instance_id: RunPath, query: Annotated[InNamespace, Query()]
    ) -> Response:
        """All task runs, both sides, those too that haven't begun."""
        found = await self._load(instance_id, query)
        return answer({"items": [] if found is None else await found.all()})

    async def read(
        self,
        instance_id: RunPath,
        ref: RefPath,
        process_type: SidePath,
        query: Annotated[InNamespace, Query()],
    ) -> Response:
        """One task run."""
        found, side = await self._one(instance_id, ref, process_type, query)
        return answer(found.one(ref, side))

    async def logs(
        self,
        instance_id: RunPath,
        ref: RefPath,
        process_type: SidePath,
        query: Annotated[LogQuery, Query()],
    ) -> Response:
        """What its scripts printed and logged: all steps and attempts, in order."""
        _, side = await self._one(instance_id, ref, process_type, query)
        reader = LogReader(self._services, instance_id, ref, side, query.step)
        content = await reader.open(follow=query.follow)
        headers = {
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            "x-content-type-options": "nosniff",  # a script wrote it: it is text, whatever it says
        }
        return StreamingResponse(content, 200, headers, "text/plain")

    async def _load(self, instance_id: str, query: InNamespace) -> TaskRuns | None:
        """The task runs; None before the run is planned. Raises NotFound."""
        store = self._services.store
        run = await find_run(store, instance_id, query.namespace or self._services.namespace)
        plan = await store.plan(instance_id)
        if plan is None:
            return None
        # Read last: what the history calls succeeded has its delta in the records. Named, since a list
        # of them takes the longer, the more runs there are.
        records = await store.records(instance_id, recorded(run, plan))
        return TaskRuns(run, plan, {key: stored.value for key, stored in records.items()})

    async def _one(
        self, instance_id: str, ref: str, process_type: str, query: InNamespace
    ) -> tuple[TaskRuns, Side]:
        """Raises NotFound."""
        found = await self._load(instance_id, query)
        if process_type not in list(Side):
            raise NotFound(f"{process_type!r} is neither `do` nor `undo`")
        if found is None or ref not in found.history.graph.dependencies:
            raise NotFound(f"the run {instance_id!r} has no task with the ref {ref!r}")
        return found, Side(process_type)


def add_routes(router: APIRouter, services: Services) -> None:
    """Add the routes."""
    routes = Tasks(services)
    missing = problems(ProblemType.NOT_FOUND)
    gone = problems(ProblemType.NOT_FOUND, ProblemType.LOG_GONE)
    example = schemas.TASK_RUN_EXAMPLE
    every = gives("The task runs", schemas.PipelineTaskRunList, {"items": [example]})
    one = gives("The task run", schemas.PipelineTaskRun, example)
    log = text("The log; with follow a stream", "text/plain", "adding vlan 12\n")
    for path, endpoint, name, responses in (
        (TASKS, routes.list_all, "list", missing | {200: every}),
        (ONE, routes.read, "read", missing | {200: one}),
        (LOGS, routes.logs, "log", gone | {200: log}),
    ):
        router.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            tags=["PipelineTaskRun"],
            name=f"{name} PipelineTaskRun",
            operation_id=f"{name}_pipelinetaskruns",
            responses=responses,
        )
