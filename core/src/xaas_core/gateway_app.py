"""The gateway's HTTP side: an ASGI app that speaks `xaas_runner.contract`."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from xaas_core.children import Children
from xaas_core.gateway import Gateway
from xaas_core.ports import Conflict, RunnerKey, Unavailable
from xaas_core.tokens import Tokens
from xaas_runner import contract

Answer = Any
Call = Callable[[RunnerKey, dict[str, Any]], Awaitable[Answer]]

FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    contract.WAIT_PATH: {"step": int},
    contract.BEGIN_PATH: {"step": int, "nonce": str, "runner": str},
    contract.FINISH_PATH: {
        "step": int,
        "nonce": str,
        "outcome": str,
        "elapsed_ms": int,
        "delta": list,
        "error": (dict, type(None)),
        "terminated": bool,
    },
    contract.CHILD_PATH: {"call": str},
}
"""What a message must hold. Runners are checked like any client: they ran a user's script."""


def gateway_app(gateway: Gateway, tokens: Tokens, children: Children) -> Starlette:
    """The app. Serve it where runners reach it, and nobody else."""

    async def wait(runner: RunnerKey, call: dict[str, Any]) -> Answer:
        return await gateway.wait(runner, call["step"])

    async def begin(runner: RunnerKey, call: dict[str, Any]) -> Answer:
        return await gateway.begin(runner, contract.BeginCall(**call))  # type: ignore[typeddict-item]

    async def finish(runner: RunnerKey, call: dict[str, Any]) -> Answer:
        return await gateway.finish(runner, contract.FinishCall(**call))  # type: ignore[typeddict-item]

    async def child(runner: RunnerKey, call: dict[str, Any]) -> Answer:
        return await children.answer(runner, contract.ChildCall(**call))  # type: ignore[typeddict-item]

    calls: dict[str, Call] = {
        contract.WAIT_PATH: wait,
        contract.BEGIN_PATH: begin,
        contract.FINISH_PATH: finish,
        contract.CHILD_PATH: child,
    }
    return Starlette(
        routes=[
            Route(path, _endpoint(tokens, FIELDS[path], call), methods=["POST"])
            for path, call in calls.items()
        ]
    )


def _endpoint(
    tokens: Tokens, fields: dict[str, type | tuple[type, ...]], call: Call
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        version = request.headers.get("x-xaas-protocol", "")
        if version not in (str(contract.PROTOCOL), str(contract.PROTOCOL - 1)):
            return _refuse(400, f"protocol {version!r} isn't spoken here")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        runner = tokens.read(token) if scheme.lower() == "bearer" else None
        if runner is None:
            return _refuse(401, "the token opens no attempt")
        body = await _body(request)
        if body is None:
            return _refuse(413, f"a message has at most {contract.MAX_MESSAGE_BYTES} bytes")
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            return _refuse(400, "the message isn't JSON")
        wrong = _wrong_field(message, fields)
        if wrong is not None:
            return _refuse(400, wrong)
        try:
            return JSONResponse(await call(runner, message))
        except (Unavailable, Conflict) as error:
            return JSONResponse({"error": str(error)}, 503, {"retry-after": "1"})

    return endpoint


async def _body(request: Request) -> bytes | None:
    """The body, read no further than is allowed; None if it is larger."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > contract.MAX_MESSAGE_BYTES:
            return None
    return bytes(body)


def _wrong_field(message: Any, fields: dict[str, type | tuple[type, ...]]) -> str | None:
    if not isinstance(message, dict):
        return "the message isn't an object"
    for name, kind in fields.items():
        if name not in message:
            return f"{name} is missing"
        if not isinstance(message[name], kind):
            return f"{name} has the wrong type"
    return None


def _refuse(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status)
