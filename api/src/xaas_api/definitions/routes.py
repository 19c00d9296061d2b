"""Routes of PipelineTasks and Pipelines: the same for both kinds."""

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from xaas_api import bodies
from xaas_api.answers import answer, encode
from xaas_api.definitions import schemas
from xaas_api.errors import ProblemType, invalid_at
from xaas_api.openapi import WITH_BODY, body, gives, problems
from xaas_api.paths import in_path
from xaas_api.queries import DefinitionList, IdempotencyKey, IfMatch, InNamespace, NamePath
from xaas_api.services import Services
from xaas_core.admission import MAX_DEFINITIONS
from xaas_core.models.objects import Definition, DefinitionSpec
from xaas_core.ports import SPECS, Conflict, Idempotency, Kind


@dataclass(frozen=True)
class Resource:
    """What differs between the kinds."""

    kind: Kind
    path: str
    stored: type[BaseModel]
    page: type[BaseModel]
    example: dict[str, Any]


RESOURCES: Final = (
    Resource(
        Kind.TASK,
        "/pipelinetasks",
        schemas.PipelineTask,
        schemas.PipelineTaskPage,
        schemas.TASK_EXAMPLE,
    ),
    Resource(
        Kind.PIPELINE,
        "/pipelines",
        schemas.Pipeline,
        schemas.PipelinePage,
        schemas.PIPELINE_EXAMPLE,
    ),
)

MODELS: Final[tuple[type[BaseModel], ...]] = tuple(
    model
    for resource in RESOURCES
    for model in (SPECS[resource.kind], resource.stored, resource.page)
)


class Definitions:
    """The routes of one kind."""

    def __init__(self, services: Services, resource: Resource) -> None:
        self._store = services.store
        self._admission = services.admission
        self._namespace = services.namespace
        self._kind = resource.kind
        self._path = resource.path

    async def create(
        self,
        request: Request,
        query: Annotated[InNamespace, Query()],
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Create it; its name must be new."""
        namespace = query.namespace or self._namespace
        spec = await bodies.read(request, SPECS[self._kind], MAX_DEFINITIONS)
        await self._admission.admit(self._kind, namespace, spec)
        idempotency = None
        if idempotency_key is not None:
            content = encode([self._kind, namespace, spec.as_written()])
            idempotency = Idempotency(idempotency_key, hashlib.sha256(content).hexdigest())
        made = await self._store.create_definition(self._kind, namespace, spec, idempotency)
        return self._answer(made, HTTPStatus.CREATED)

    async def list_all(self, query: Annotated[DefinitionList, Query()]) -> Response:
        """All of them, newest first, page by page."""
        namespace = query.namespace or self._namespace
        try:
            page = await self._store.list_definitions(self._kind, namespace, query.for_store())
        except ValueError as error:
            raise invalid_at("continue", str(error)) from None
        return answer({"items": [schemas.view(d) for d in page.items], "continue": page.after})

    async def read(self, name: NamePath, query: Annotated[InNamespace, Query()]) -> Response:
        """The object as it was written."""
        namespace = query.namespace or self._namespace
        found = await self._store.get_definition(self._kind, namespace, name)
        return self._answer(found, HTTPStatus.OK)

    async def replace(
        self,
        request: Request,
        name: NamePath,
        query: Annotated[InNamespace, Query()],
        if_match: IfMatch = None,
    ) -> Response:
        """Replace it. Runs under way keep what they started with."""
        namespace = query.namespace or self._namespace
        spec = await bodies.read(request, SPECS[self._kind], MAX_DEFINITIONS)
        if spec.name != name:
            text = f"{spec.name!r} isn't the name in the path, {name!r}; a rename is a new object"
            raise invalid_at("name", text)
        await self._admission.admit(self._kind, namespace, spec)
        version = await self._expected(namespace, name, if_match)
        made = await self._store.replace_definition(self._kind, namespace, spec, version)
        return self._answer(made, HTTPStatus.OK)

    async def delete(
        self,
        name: NamePath,
        query: Annotated[InNamespace, Query()],
        if_match: IfMatch = None,
    ) -> Response:
        """Delete it, also while runs use it: they have a copy."""
        namespace = query.namespace or self._namespace
        version = await self._expected(namespace, name, if_match)
        await self._store.delete_definition(self._kind, namespace, name, version)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _expected(self, namespace: str, name: str, if_match: str | None) -> str | None:
        """The version that If-Match asks for; None if any will do."""
        if if_match is None or if_match.strip() == "*":
            return None
        tags = [tag.strip() for tag in if_match.split(",")]
        # A weak tag (W/"...") keeps its prefix, and so never matches.
        versions = [tag[1:-1] if tag[:1] == tag[-1:] == '"' else tag for tag in tags]
        if len(versions) == 1:
            return versions[0]
        found = await self._store.get_definition(self._kind, namespace, name)
        if found.meta.resource_version not in versions:
            raise Conflict(f"{self._kind} {name!r} is at none of these versions: read it again")
        return found.meta.resource_version

    def _answer(self, definition: Definition[DefinitionSpec], status: int) -> Response:
        headers = {"etag": f'"{definition.meta.resource_version}"'}
        if status == HTTPStatus.CREATED:
            headers["location"] = f"{self._path}/{in_path(definition.spec.name)}"
        return answer(schemas.view(definition), status, headers)


def add_routes(router: APIRouter, services: Services, resource: Resource) -> None:
    """Add the routes of one kind."""
    routes = Definitions(services, resource)
    kind, one = resource.kind, resource.path + "/{name:segment}"
    takes = body(SPECS[kind], examples={kind.value: resource.example})
    stored = resource.example | schemas.STORED
    etag = {"ETag": "The object's version, for If-Match."}
    created = gives(f"The {kind}", resource.stored, stored, etag | {"Location": "Its path."})
    shown = gives(f"The {kind}", resource.stored, stored, etag)
    page = gives("A page", resource.page, {"items": [stored], "continue": None})
    missing, stale = ProblemType.NOT_FOUND, ProblemType.PRECONDITION_FAILED

    def add(path: str, method: str, endpoint: Any, status: int, **docs: Any) -> None:
        router.add_api_route(
            path,
            endpoint,
            methods=[method],
            status_code=status,
            tags=[kind.value],
            name=f"{endpoint.__name__} {kind.value}",
            operation_id=f"{endpoint.__name__.partition('_')[0]}_{resource.path[1:]}",
            **docs,
        )

    refused = (*WITH_BODY, ProblemType.REFUSED)
    exists = (ProblemType.ALREADY_EXISTS, ProblemType.KEY_REUSED)
    add(
        resource.path,
        "POST",
        routes.create,
        201,
        openapi_extra=takes,
        responses={201: created} | problems(*refused, *exists),
    )
    add(resource.path, "GET", routes.list_all, 200, responses={200: page} | problems())
    add(one, "GET", routes.read, 200, responses={200: shown} | problems(missing))
    add(
        one,
        "PUT",
        routes.replace,
        200,
        openapi_extra=takes,
        responses={200: shown} | problems(*refused, missing, stale),
    )
    gone: dict[int | str, dict[str, Any]] = {204: {"description": "It is deleted."}}
    add(one, "DELETE", routes.delete, 204, responses=gone | problems(missing, stale))
