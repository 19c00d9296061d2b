"""The gateway over HTTP: what a runner may say, and what hostile clients get."""

import asyncio
import json
from itertools import product
from typing import Any

import httpx
import pytest
from tests.core.kit.bench import Bench, finished

from xaas_core.gateway_app import MAX_TEXT, gateway_app
from xaas_core.ports import RunnerKey, Unavailable
from xaas_core.testing.builders import task_spec
from xaas_core.tokens import IdleRunner
from xaas_runner import contract

pytestmark = pytest.mark.anyio

BEGIN = {"step": 0, "nonce": "n", "runner": "pid-1"}


class Caller:
    """A runner on the other side of HTTP."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        app = gateway_app(bench.gateway, bench.tokens, bench.children)
        transport = httpx.ASGITransport(app=app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://gateway")
        self.token = ""

    async def post(
        self, path: str, message: Any = None, *, raw: bytes | None = None, **headers: str
    ) -> httpx.Response:
        """POST as a runner does; `headers` replace what it sends."""
        body = json.dumps(message).encode() if raw is None else raw
        sent = {
            "authorization": f"Bearer {self.token}",
            "x-xaas-protocol": str(contract.PROTOCOL),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return await self.client.post(path, content=body, headers=sent)


@pytest.fixture
async def caller() -> Caller:
    """A runner whose attempt may begin."""
    bench = Bench()
    await bench.start(
        task_spec("a", (True, True)), task_spec("child"), parameters={"é": "\U0001f600"}
    )
    caller = Caller(bench)
    caller.token = bench.launcher.orders[0].token
    return caller


async def test_a_step_from_wait_to_finish(caller: Caller) -> None:
    answer = await caller.post(contract.WAIT_PATH, {"step": 0, "patience_ms": 0})
    assert (answer.status_code, answer.json()) == (200, {"answer": "go"})
    begun = (await caller.post(contract.BEGIN_PATH, BEGIN)).json()
    assert (begun["answer"], begun["params"]) == ("go", {"é": "\U0001f600"})
    assert (await caller.post(contract.BEGIN_PATH, BEGIN)).json() == begun
    delta = [{"op": "set", "path": ["x"], "value": 1.0}]
    ended = await caller.post(contract.FINISH_PATH, finished(delta=delta))
    assert ended.json() == {"answer": "recorded", "next": True}
    begun = (await caller.post(contract.BEGIN_PATH, {**BEGIN, "step": 1})).json()
    assert repr(begun["params"]) == repr({"é": "\U0001f600", "x": 1.0})


async def test_wait_is_held_open_until_it_is_the_steps_turn(caller: Caller) -> None:
    await caller.post(contract.BEGIN_PATH, BEGIN)
    waiting = asyncio.create_task(
        caller.post(contract.WAIT_PATH, {"step": 1, "patience_ms": 30_000})
    )
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    await caller.post(contract.FINISH_PATH, finished())
    async with asyncio.timeout(2):
        assert (await waiting).json() == {"answer": "go"}


async def test_wait_is_answered_when_patience_is_used_up(caller: Caller) -> None:
    await caller.post(contract.BEGIN_PATH, BEGIN)
    for patience in (0, 1, -5):
        answer = await caller.post(contract.WAIT_PATH, {"step": 1, "patience_ms": patience})
        assert answer.json()["answer"] == "wait"


async def test_wait_for_a_run_that_is_removed_is_told_to_leave(caller: Caller) -> None:
    await caller.bench.store.remove_run(caller.bench.uid)
    answer = await caller.post(contract.WAIT_PATH, {"step": 1, "patience_ms": 1000})
    assert answer.json()["answer"] == "leave"


# --- idle runners ---


async def test_an_idle_runner_is_told_what_it_is_for(caller: Caller) -> None:
    idle, attempt = IdleRunner("default", "idle-1"), caller.bench.tokens.read(caller.token)
    asked: list[tuple[IdleRunner, float]] = []

    async def work(runner: IdleRunner, patience: float) -> RunnerKey | None:
        asked.append((runner, patience))
        return None if len(asked) == 1 else attempt  # type: ignore[return-value]

    bench = caller.bench
    app = gateway_app(bench.gateway, bench.tokens, bench.children, work)
    transport = httpx.ASGITransport(app=app)
    caller.client = httpx.AsyncClient(transport=transport, base_url="http://gateway")
    caller.token = bench.tokens.issue_idle(idle)
    none = {"answer": "wait", "reason": "there is no work yet", "early": True}
    waits = {"step": 0, "patience_ms": 3_000}
    assert (await caller.post(contract.BEGIN_PATH, BEGIN)).json() == none
    assert asked == [], "to begin isn't to wait"
    assert (await caller.post(contract.WAIT_PATH, waits)).json() == none
    told = (await caller.post(contract.WAIT_PATH, waits)).json()
    assert asked == [(idle, 3.0)] * 2
    assert told.keys() == {"answer", "token"}
    caller.token = told["token"]
    assert (await caller.post(contract.BEGIN_PATH, BEGIN)).json()["answer"] == "go"


async def test_an_idle_runner_has_no_say(caller: Caller) -> None:
    caller.token = caller.bench.tokens.issue_idle(IdleRunner("default", "idle-1"))
    for path, message in (
        (contract.FINISH_PATH, finished()),
        (contract.CHILD_PATH, {"call": "get"}),
    ):
        assert (await caller.post(path, message)).status_code == 403
    waits = {"step": 0, "patience_ms": 0}
    assert (await caller.post(contract.WAIT_PATH, waits)).json()["early"], "there is no pool"


# --- who may call ---


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer x", "Bearer x.y", "Basic eDp5", "bearer a.b.c", "Bearer é.é"],
)
async def test_without_a_token_of_ours_nothing_is_answered(
    caller: Caller, authorization: str
) -> None:
    text = authorization.encode("latin-1").decode("latin-1")
    for path in (
        contract.WAIT_PATH,
        contract.BEGIN_PATH,
        contract.FINISH_PATH,
        contract.CHILD_PATH,
    ):
        sent = [(b"authorization", text.encode("latin-1")), (b"x-xaas-protocol", b"1")]
        answer = await caller.client.post(path, content=b"{}", headers=sent)
        assert answer.status_code == 401


async def test_a_token_opens_its_own_attempt_only(caller: Caller) -> None:
    bench = caller.bench
    other = next(order.token for order in bench.launcher.orders if order.ref == "child")
    await caller.post(contract.BEGIN_PATH, BEGIN)
    caller.token = other
    answer = await caller.post(contract.FINISH_PATH, finished())
    assert answer.json()["answer"] == "leave"
    assert (await bench.record("a")).attempts[0].steps[0].finished_at is None


async def test_bearer_is_read_whatever_its_case(caller: Caller) -> None:
    answer = await caller.post(
        contract.WAIT_PATH, {"step": 0}, authorization=f"bearer {caller.token}"
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(("version", "status"), [("1", 200), ("0", 200), ("2", 400), ("x", 400)])
async def test_this_and_the_previous_protocol_are_spoken(
    caller: Caller, version: str, status: int
) -> None:
    answer = await caller.post(contract.WAIT_PATH, {"step": 0}, x_xaas_protocol=version)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", contract.WAIT_PATH, 405), ("PUT", contract.BEGIN_PATH, 405), ("POST", "/", 404)],
)
async def test_other_calls_there_are_none(
    caller: Caller, method: str, path: str, status: int
) -> None:
    assert (await caller.client.request(method, path)).status_code == status


# --- what may be said ---

LONG = "x" * (MAX_TEXT + 1)
CALLS = ("wait", "begin", "finish", "child")
NO_OBJECTS: list[Any] = [[], None, 1, "x", {}]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        *product(CALLS, NO_OBJECTS),
        ("wait", {"step": "0"}),
        ("wait", {"step": True}),
        ("wait", {"step": 0.0}),
        ("wait", {"step": 0, "patience_ms": "1"}),
        ("wait", {"step": 0, "patience_ms": False}),
        ("begin", {**BEGIN, "nonce": None}),
        ("begin", {**BEGIN, "nonce": LONG}),
        ("begin", {**BEGIN, "runner": LONG}),
        ("begin", {**BEGIN, "runner": "\ud800"}),
        ("begin", {"step": 0, "nonce": "n"}),
        ("finish", finished(delta={})),
        ("finish", finished(delta=None)),
        ("finish", finished(error="it failed")),
        ("finish", finished(error=[])),
        ("finish", finished(elapsed_ms=1.5)),
        ("finish", finished(elapsed_ms=None)),
        ("finish", finished(terminated=0)),
        ("finish", finished(outcome=None)),
        ("child", {"call": 1}),
        ("child", {"call": "create", "parameters": []}),
        ("child", {"call": "get", "id": 5}),
        ("child", {"call": "get", "id": "x", "patience_ms": "long"}),
    ],
)
async def test_a_message_of_the_wrong_shape_is_refused(
    caller: Caller, path: str, message: Any
) -> None:
    await caller.post(contract.BEGIN_PATH, BEGIN)
    answer = await caller.post(f"/v1/{path}", message)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert (await caller.bench.record("a")).attempts[0].steps[0].finished_at is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe\x00", 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 100_000, 400),
        (b'{"step": ' + b"9" * 200_000 + b"}", 400),
        (b" " * (contract.MAX_MESSAGE_BYTES + 1), 413),
    ],
)
async def test_a_body_that_is_no_message_is_refused(
    caller: Caller, body: bytes, status: int
) -> None:
    answer = await caller.post(contract.WAIT_PATH, raw=body)
    assert answer.status_code == status
    assert answer.json()["error"]


@pytest.mark.parametrize(
    "delta",
    [
        '[{"op":"set","path":["a"],"value":NaN}]',
        '[{"op":"set","path":["a"],"value":1e999}]',
        '[{"op":"set","path":["a"],"value":' + "[" * 900 + "]" * 900 + "}]",
        '[{"op":"set","path":["\\ud800"],"value":1}]',
        '[{"op":"set","path":[' + '"a",' * 5000 + '"b"],"value":1}]',
    ],
)
async def test_a_hostile_delta_fails_its_own_step(caller: Caller, delta: str) -> None:
    await caller.post(contract.BEGIN_PATH, BEGIN)
    body = json.dumps(finished()).replace('"delta": []', f'"delta": {delta}')
    answer = await caller.post(contract.FINISH_PATH, raw=body.encode())
    assert (answer.status_code, answer.json()["answer"]) == (200, "recorded")
    assert (await caller.bench.record("a")).attempts[0].steps[0].reason == "ResultInvalid"
    await caller.bench.reconcile()
    assert await caller.bench.state() == "cancelling"


async def test_if_the_store_is_away_the_runner_is_told_to_ask_again(caller: Caller) -> None:
    async def away(uid: str) -> Any:
        raise Unavailable("the disk is full")

    caller.bench.store.get_run = away  # type: ignore[method-assign]
    answer = await caller.post(contract.BEGIN_PATH, BEGIN)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {"error": "the disk is full"}


async def test_an_answer_says_how_long_it_is(caller: Caller) -> None:
    answer = await caller.post(contract.BEGIN_PATH, BEGIN)
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["content-type"] == "application/json"
