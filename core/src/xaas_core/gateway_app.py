"""The gateway's HTTP side: an ASGI app that speaks `xaas_runner.contract`.

Plain ASGI, no framework: four paths, one method, and it is called twice for each step that runs.
"""

import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from xaas_core.children import LONGEST_WAIT, Children
from xaas_core.engine.json_values import is_unicode
from xaas_core.gateway import Gateway
from xaas_core.ports import Conflict, RunnerKey, Unavailable
from xaas_core.tokens import IdleRunner, Tokens
from xaas_runner import contract

Call = Callable[[RunnerKey, Any], Awaitable[Any]]
IdleCall = Callable[[IdleRunner, str, Any], Awaitable[Any]]

IDLE_PATHS: Final = (contract.WAIT_PATH, contract.BEGIN_PATH)
"""What an idle runner may call: any begins by asking to begin, and then waits."""

FIELDS: Final[Mapping[str, Mapping[str, type | tuple[type, ...]]]] = {
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

OPTIONAL: Final[Mapping[str, type]] = {
    "patience_ms": int,
    "key": str,
    "kind": str,
    "name": str,
    "parameters": dict,
    "run": bool,
    "id": str,
    "operation": str,
    "until_rest": bool,
}
"""What a message may hold besides."""

MAX_TEXT: Final = 256
"""Longest text beside scripts' own, such as a nonce: it is recorded."""


log = logging.getLogger(__name__)


class Refusal(Exception):
    """An answer that isn't 200: status, and a text for the runner's log."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


Work = Callable[[IdleRunner, float], Awaitable[RunnerKey | None]]
"""What an idle runner is for, as soon as that is known, or None after so many seconds."""


async def no_work(idle: IdleRunner, patience: float) -> RunnerKey | None:
    """Where there are no idle runners."""
    return None


def gateway_app(
    gateway: Gateway, tokens: Tokens, children: Children, work: Work = no_work
) -> "GatewayApp":
    """The app. Serve it where runners reach it, and nobody else."""

    async def wait(runner: RunnerKey, call: contract.WaitCall) -> contract.BeginAnswer:
        patience = min(call.get("patience_ms", 0) / 1000, LONGEST_WAIT)
        return await gateway.wait(runner, call["step"], patience)

    calls: dict[str, Call] = {
        contract.WAIT_PATH: wait,
        contract.BEGIN_PATH: gateway.begin,
        contract.FINISH_PATH: gateway.finish,
        contract.CHILD_PATH: children.answer,
    }

    async def idle(runner: IdleRunner, path: str, call: Any) -> contract.BeginAnswer:
        patience = min(call.get("patience_ms", 0) / 1000, LONGEST_WAIT)
        found = await work(runner, patience) if path == contract.WAIT_PATH else None
        if found is None:
            return {"answer": "wait", "reason": "there is no work yet", "early": True}
        return {"answer": "go", "token": tokens.issue(found)}

    return GatewayApp(tokens, calls, idle)


class GatewayApp:
    """Authenticates a runner, checks its message, and hands it to the right call."""

    def __init__(self, tokens: Tokens, calls: Mapping[str, Call], idle: IdleCall) -> None:
        self._tokens = tokens
        self._calls = calls
        self._idle = idle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        assert scope["type"] == "http"
        status, headers = 200, [(b"content-type", b"application/json")]
        try:
            answer: Any = await self._answer(scope, receive)
        except Refusal as refusal:
            status, answer = refusal.status, {"error": str(refusal)}
        except (Unavailable, Conflict) as error:
            status, answer = 503, {"error": str(error)}
            headers.append((b"retry-after", b"1"))
        body = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode(
            "utf-8", "surrogatepass"
        )
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Any:
        if scope["path"] not in self._calls:
            raise Refusal(404, "there is no such call")
        if scope["method"] != "POST":
            raise Refusal(405, "calls are POSTs")
        headers: dict[bytes, bytes] = dict(scope["headers"])
        version = headers.get(b"x-xaas-protocol", b"").decode("latin-1")
        if version not in (str(contract.PROTOCOL), str(contract.PROTOCOL - 1)):
            raise Refusal(400, f"protocol {version!r} isn't spoken here")
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        runner = self._tokens.read(token) if scheme.lower() == "bearer" else None
        if runner is None:
            raise Refusal(401, "the token opens no attempt")
        if isinstance(runner, IdleRunner) and scope["path"] not in IDLE_PATHS:
            raise Refusal(403, "an idle runner has nothing to say")
        message = _checked(await _body(receive), FIELDS[scope["path"]])
        began = time.perf_counter()
        answer = await self._asked(runner, scope["path"], message)
        lasted = 1000 * (time.perf_counter() - began)
        log.debug("%s by %s: %s, %.1f ms", scope["path"], runner, answer.get("answer"), lasted)
        return answer

    async def _asked(self, runner: RunnerKey | IdleRunner, path: str, message: Any) -> Any:
        if isinstance(runner, IdleRunner):
            return await self._idle(runner, path, message)
        return await self._calls[path](runner, message)


async def _body(receive: Receive) -> bytes:
    """The body, read no further than is allowed."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the message ended early")
        body += message.get("body", b"")
        if len(body) > contract.MAX_MESSAGE_BYTES:
            raise Refusal(413, f"a message has at most {contract.MAX_MESSAGE_BYTES} bytes")
        if not message.get("more_body", False):
            return bytes(body)


def _checked(body: bytes, fields: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(400, "the message isn't JSON") from None
    if not isinstance(message, dict):
        raise Refusal(400, "the message isn't an object")
    for name, kind in fields.items():
        if name not in message:
            raise Refusal(400, f"{name} is missing")
        _check_field(name, message[name], kind)
    for name, kind in OPTIONAL.items():
        if name in message and name not in fields:
            _check_field(name, message[name], kind)
    return message


def _check_field(name: str, value: Any, kind: type | tuple[type, ...]) -> None:
    # In Python a bool is an int; in a message it isn't.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Refusal(400, f"{name} has the wrong type")
    if isinstance(value, str) and (len(value) > MAX_TEXT or not is_unicode(value)):
        raise Refusal(400, f"{name} has more than {MAX_TEXT} characters, or isn't Unicode")
