"""Routes of PipelineRuns."""

import asyncio
import hashlib
import uuid
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from xaas_api import bodies
from xaas_api.answers import answer, encode
from xaas_api.errors import ProblemType, invalid_at
from xaas_api.openapi import WITH_BODY, body, gives, problems
from xaas_api.queries import Flag, IdempotencyKey, InNamespace, RunList, RunPath
from xaas_api.runs import schemas
from xaas_api.runs.views import run_view
from xaas_api.services import Services
from xaas_core.engine.facts import Request as OperationRequest
from xaas_core.engine.states import Operation
from xaas_core.models.objects import Run
from xaas_core.models.pipeline_run import Target
from xaas_core.operations import Undecided, operate, wait_for
from xaas_core.planner import NOT_PLANNABLE, plan_instead
from xaas_core.ports import Idempotency, NotFound, Store, StoreError

PATH: Final = "/pipelineruns"

DECIDE_WITHIN: Final = 10.0
"""Seconds that a PATCH, or a POST with `run`, waits for the decision."""

PLAN_WITHIN: Final = 5.0
"""Seconds that a POST waits for the plan, before it plans the run itself."""


class RunDeletion(InNamespace):
    """How to delete a run."""

    force: Flag = False
    """Delete it also if it isn't over: stops what runs, undoes nothing."""


async def find_run(store: Store, uid: str, namespace: str) -> Run:
    """The run, if it is in `namespace`. Raises NotFound."""
    run = await store.get_run(uid)
    if run.meta.namespace != namespace:
        raise NotFound(f"there is no run {uid!r} in the namespace {namespace!r}")
    return run


class Runs:
    """The routes."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._admission = services.admission
        self._namespace = services.namespace

    async def create(
        self,
        request: Request,
        query: Annotated[InNamespace, Query()],
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Create a run of a Pipeline: `pending`, or with `run: true` started at once.

        The definitions are those of this moment; later edits change nothing.
        """
        namespace = query.namespace or self._namespace
        creation = await bodies.read(request, schemas.RunCreation)
        spec = creation.spec()
        start = OperationRequest(str(uuid.uuid4()), Operation.RUN) if creation.run else None
        run, idempotency = None, None
        if idempotency_key is not None:
            content = encode(["PipelineRun", namespace, creation.as_written()])
            idempotency = Idempotency(idempotency_key, hashlib.sha256(content).hexdigest())
            run = await self._store.recall_run(namespace, idempotency)
        if run is None:
            await self._admission.admit_run(namespace, spec, Target.PIPELINE)
            run = await self._store.create_run(namespace, spec, Target.PIPELINE, start, idempotency)
        run = await self._settled(run, creation.run)
        headers = {"location": f"{PATH}/{run.meta.uid}"}
        return answer(run_view(run), HTTPStatus.CREATED, headers)

    async def _settled(self, run: Run, started: bool) -> Run:
        """The new run once it is planned, and started if that was asked for; or as it is then."""
        uid, is_settled = run.meta.uid, _is_decided if started else _is_planned
        clock = asyncio.get_running_loop().time
        end = clock() + DECIDE_WITHIN
        try:
            settled = await wait_for(self._store, uid, is_settled, PLAN_WITHIN)
            if settled is None:
                # Nobody reconciles now. The definitions are those of this moment all the same; but
                # whatever becomes of that, the run is made, and told.
                with suppress(StoreError, TimeoutError):
                    async with asyncio.timeout_at(end):
                        await plan_instead(self._store, self._admission, uid)
                if started:
                    settled = await wait_for(self._store, uid, is_settled, end - clock())
            return settled or await self._store.get_run(uid)
        except NotFound:
            return run  # over and removed already: its ttlAfterFinished is short

    async def list_all(self, query: Annotated[RunList, Query()]) -> Response:
        """Runs, newest first, page by page."""
        namespace = query.namespace or self._namespace
        try:
            page = await self._store.list_runs(namespace, query.for_store())
        except ValueError as error:
            raise invalid_at("continue", str(error)) from None
        return answer({"items": [run_view(run) for run in page.items], "continue": page.after})

    async def read(self, instance_id: RunPath, query: Annotated[InNamespace, Query()]) -> Response:
        """One run."""
        return answer(run_view(await self._find(instance_id, query)))

    async def patch(
        self, request: Request, instance_id: RunPath, query: Annotated[InNamespace, Query()]
    ) -> Response:
        """Ask for an operation and wait until it is decided; or suspend, or go on."""
        await self._find(instance_id, query)
        asked = await bodies.read(request, schemas.RunPatch)
        if "suspend" in asked.model_fields_set:
            run = await self._store.suspend(instance_id, asked.suspend)
        else:
            run = await operate(self._store, instance_id, asked.operation, DECIDE_WITHIN)
        return answer(run_view(run), HTTPStatus.ACCEPTED)

    async def delete(
        self, instance_id: RunPath, query: Annotated[RunDeletion, Query()]
    ) -> Response:
        """Delete a run that is over; with `force` any run, undoing nothing."""
        run = await self._find(instance_id, query)
        if query.force:
            run = await self._store.mark_deleting(instance_id)
            return answer(run_view(run), HTTPStatus.ACCEPTED)
        try:
            await self._store.mark_deleting(instance_id, only_over=True)
            # The reconciler removes it, with its logs.
            await wait_for(self._store, instance_id, lambda _: False, DECIDE_WITHIN)
        except NotFound:
            return Response(status_code=HTTPStatus.NO_CONTENT)
        raise Undecided("the run is being deleted, but isn't gone yet")

    async def _find(self, instance_id: str, query: InNamespace) -> Run:
        return await find_run(self._store, instance_id, query.namespace or self._namespace)


def _is_planned(run: Run) -> bool:
    return run.status.planned or run.status.summary.reason in NOT_PLANNABLE


def _is_decided(run: Run) -> bool:
    return run.pending_request is None or run.status.summary.reason in NOT_PLANNABLE


def add_routes(router: APIRouter, services: Services) -> None:
    """Add the routes."""
    routes = Runs(services)
    one = PATH + "/{instance_id:segment}"
    example = schemas.RUN_EXAMPLE
    shown = gives("The run", schemas.PipelineRun, example)
    changed = gives("The run after the decision", schemas.PipelineRun, example)
    created = gives("The run", schemas.PipelineRun, example, {"Location": "Its path."})
    page = gives("A page", schemas.PipelineRunPage, {"items": [example], "continue": None})
    missing = ProblemType.NOT_FOUND
    written = {"name": "deploy", "parameters": {"vlan": 12}}

    def add(path: str, method: str, endpoint: Any, status: int, **docs: Any) -> None:
        router.add_api_route(
            path,
            endpoint,
            methods=[method],
            status_code=status,
            tags=["PipelineRun"],
            name=f"{endpoint.__name__} PipelineRun",
            operation_id=f"{endpoint.__name__.partition('_')[0]}_pipelineruns",
            **docs,
        )

    add(
        PATH,
        "POST",
        routes.create,
        201,
        openapi_extra=body(
            schemas.RunCreation,
            examples={"created": written, "started": written | {"run": True}},
        ),
        responses={201: created}
        | problems(*WITH_BODY, ProblemType.REFUSED, ProblemType.KEY_REUSED),
    )
    add(PATH, "GET", routes.list_all, 200, responses={200: page} | problems())
    add(one, "GET", routes.read, 200, responses={200: shown} | problems(missing))
    add(
        one,
        "PATCH",
        routes.patch,
        202,
        openapi_extra=body(
            schemas.RunOperation,
            schemas.RunSuspension,
            examples={
                **{operation.value: {"operation": operation.value} for operation in Operation},
                "suspend": {"suspend": True},
            },
        ),
        responses={202: changed}
        | problems(*WITH_BODY, missing, ProblemType.OPERATION_NOT_ALLOWED, ProblemType.UNDECIDED),
    )
    add(
        one,
        "DELETE",
        routes.delete,
        204,
        responses={
            204: {"description": "It was over, and is gone."},
            202: gives(
                "With force: it is being stopped and removed.", schemas.PipelineRun, example
            ),
        }
        | problems(missing, ProblemType.RUN_NOT_OVER, ProblemType.UNDECIDED),
    )
