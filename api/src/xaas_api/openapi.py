"""The OpenAPI document: FastAPI's paths and parameters, with our bodies, answers and errors.

Bodies are read by `bodies.read` and answers are written as plain JSON, so FastAPI sees neither; what
a route takes and gives is named here, by model, and each model becomes a component.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from xaas_api.errors import MEDIA_TYPE, STATUS, TITLES, URN, ProblemType
from xaas_api.schemas import NotAllowedDetails, ProblemDetails

ALWAYS: Final = (
    ProblemType.UNAUTHORIZED,
    ProblemType.FORBIDDEN,
    ProblemType.INVALID_REQUEST,
    ProblemType.INTERNAL_ERROR,
    ProblemType.UNAVAILABLE,
)
"""Problems that any request may meet."""

WITH_BODY: Final = (
    ProblemType.INVALID_JSON,
    ProblemType.BODY_TOO_LARGE,
    ProblemType.UNSUPPORTED_MEDIA_TYPE,
)
"""Problems of requests with a body."""

DESCRIPTION: Final = """\
Pipelines of sandboxed Python steps as sagas: a DAG of tasks that is undone when it fails.

Errors are problem details (RFC 9457) with a stable `type`. Names may have any spelling; in a path
`/` is written `%2F`. Times are RFC 3339 in UTC with milliseconds.
"""

Responses = dict[int | str, dict[str, Any]]
_REFS: Final = "#/components/schemas/{model}"


def ref(model: type[BaseModel]) -> dict[str, str]:
    """A reference to the component of `model`."""
    return {"$ref": _REFS.format(model=model.__name__)}


def body(*models: type[BaseModel], examples: Mapping[str, Any]) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is one of `models`."""
    schema = ref(models[0]) if len(models) == 1 else {"oneOf": [ref(model) for model in models]}
    content = {
        "schema": schema,
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def gives(
    description: str,
    model: type[BaseModel],
    example: Any,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A JSON answer."""
    return {
        "description": description,
        "content": {"application/json": {"schema": ref(model), "example": example}},
        "headers": {
            name: {"description": text, "schema": {"type": "string"}}
            for name, text in (headers or {}).items()
        },
    }


def text(description: str, media_type: str, example: str) -> dict[str, Any]:
    """A textual answer."""
    schema = {"type": "string"}
    return {
        "description": description,
        "content": {media_type: {"schema": schema, "example": example}},
    }


def problems(*types: ProblemType) -> Responses:
    """The answers for `types` and for what any request may meet, by status."""
    by_status: dict[int, list[ProblemType]] = {}
    for kind in dict.fromkeys((*types, *ALWAYS)):
        by_status.setdefault(STATUS[kind], []).append(kind)
    return {
        status: {
            "description": "; or: ".join(TITLES[kind] for kind in kinds),
            "content": {
                MEDIA_TYPE: {
                    "schema": _problem_schema(kinds),
                    "examples": {kind.value: {"value": _example(kind)} for kind in kinds},
                }
            },
        }
        for status, kinds in sorted(by_status.items())
    }


def _problem_schema(kinds: list[ProblemType]) -> dict[str, Any]:
    if kinds == [ProblemType.OPERATION_NOT_ALLOWED]:
        return ref(NotAllowedDetails)
    return ref(ProblemDetails)


_DETAILS: Final[Mapping[ProblemType, str]] = {
    ProblemType.INVALID_JSON: "body: Expecting value (line 1, column 9)",
    ProblemType.INVALID_REQUEST: "tasks[0].ref: required, but missing",
    ProblemType.REFUSED: "steps[0].doScript, line 1: '(' was never closed",
    ProblemType.UNAUTHORIZED: "send the server's token as `Authorization: Bearer <token>`",
    ProblemType.FORBIDDEN: "Origin 'http://example.com' isn't this server; "
    "pages from elsewhere can't call it",
    ProblemType.NOT_FOUND: "there is no Pipeline 'deploy'",
    ProblemType.ALREADY_EXISTS: "there is a Pipeline 'deploy' already",
    ProblemType.KEY_REUSED: "this Idempotency-Key came with another body before",
    ProblemType.OPERATION_NOT_ALLOWED: "a run that is complete can't do cancel; "
    "allowed now: rollback",
    ProblemType.RUN_NOT_OVER: "the run is processing; cancel it first, or delete it with "
    "?force=true, which undoes nothing",
    ProblemType.LOG_GONE: "the log of attempt 1, step 0 isn't kept any more: its pod is gone",
    ProblemType.PRECONDITION_FAILED: "the Pipeline 'deploy' is at another version: read it again",
    ProblemType.BODY_TOO_LARGE: "a body has at most 4194304 bytes",
    ProblemType.UNSUPPORTED_MEDIA_TYPE: "Content-Type is missing; "
    "send the body as application/json",
    ProblemType.UNDECIDED: "run wasn't decided within 10 s; it still waits",
    ProblemType.UNAVAILABLE: "the store can't be written: the disk is full",
    ProblemType.INTERNAL_ERROR: "the server's log says what happened",
}


def _example(kind: ProblemType) -> dict[str, Any]:
    detail = _DETAILS[kind]
    shown: dict[str, Any] = {
        "type": URN + kind,
        "title": TITLES[kind],
        "status": STATUS[kind],
        "detail": detail,
        "errors": [],
    }
    if kind in (ProblemType.INVALID_JSON, ProblemType.INVALID_REQUEST, ProblemType.REFUSED):
        place, _, message = detail.partition(": ")
        place, _, line = place.partition(", line ")
        number = int(line) if line else None
        shown["errors"] = [{"place": place, "message": message, "line": number}]
    if kind is ProblemType.OPERATION_NOT_ALLOWED:
        shown |= {"state": "complete", "operations": ["rollback"]}
    return shown


def document(app: FastAPI, models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """The document of `app`, with `models` as components."""
    found = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        description=DESCRIPTION,
        routes=app.routes,
        separate_input_output_schemas=False,
    )
    for route in app.routes:
        if isinstance(route, APIRoute):
            for method in route.methods or ():
                _complete(found["paths"][route.path_format][method.lower()], route)
    every = [(model, "validation") for model in (*models, ProblemDetails, NotAllowedDetails)]
    _, schemas = models_json_schema(every, ref_template=_REFS)  # type: ignore[arg-type]
    components = found.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas.get("$defs", {}))
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "Needed unless the server listens on loopback without a token file. "
            "On Kubernetes a token of the cluster's: of a ServiceAccount, or of a user.",
        }
    }
    found["security"] = [{"token": []}, {}]
    return found


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    """Put in what FastAPI doesn't know, or leaves out: it drops every null from examples."""
    operation["summary"] = route.description.partition("\n")[0]
    operation.update(route.openapi_extra or {})
    answers = sorted(route.responses.items(), key=lambda answer: int(answer[0]))
    operation["responses"] = {str(status): answer for status, answer in answers}
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _plain(parameter["schema"])


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema without null, which neither a query nor a header can say."""
    kept = {key: value for key, value in schema.items() if key not in ("title", "description")}
    choices = [choice for choice in kept.pop("anyOf", ()) if choice != {"type": "null"}]
    return kept | choices[0] if len(choices) == 1 else kept
