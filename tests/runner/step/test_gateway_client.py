"""The gateway away, slow, wrong, or done with us."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from xaas_runner.contract import BEGIN_PATH, CHILD_PATH, FINISH_PATH, WAIT_PATH
from xaas_runner.gateway_client import GatewayClient, Refused

pytestmark = pytest.mark.slow  # with real processes, and what they wait for

if TYPE_CHECKING:
    from tests.runner.step.conftest import Gateway, Steps


@pytest.fixture(params=["unix", "tcp"])
def client(
    request: pytest.FixtureRequest, gateway: "Gateway", folder: Path
) -> Iterator[GatewayClient]:
    gateway._tcp = request.param == "tcp"
    gateway.serve("pass")
    client = GatewayClient(gateway.address, "t-1")
    yield client
    client.close()


def test_a_call_and_its_answer(client: GatewayClient, gateway: "Gateway") -> None:
    for _ in range(3):
        assert client.call(WAIT_PATH, {"step": 0, "patience_ms": 5, "ü": "\udfff"}) == {
            "answer": "go"
        }
    assert gateway.said(WAIT_PATH)[0] == {"step": 0, "patience_ms": 5, "ü": "?"}
    assert gateway.tokens == {"bearer t-1"}
    assert len(gateway._writers) == 1, "one connection serves them all"


@pytest.mark.parametrize(
    "trouble",
    [
        lambda message: None,
        lambda message: (500, "", b"oops"),
        lambda message: (503, "Retry-After: 0\r\n", b""),
        lambda message: (429, "Retry-After: 0\r\n", b"{}"),
        lambda message: (429, "", b"{}"),
        lambda message: (200, "", b"<html>"),
        lambda message: (200, "", b"[]"),
        lambda message: (302, "Location: /x\r\n", b"{}"),
        lambda message: (200, "Connection: close\r\nTransfer-Encoding: chunked\r\n", b"{}"),
    ],
)
def test_no_usable_answer_is_asked_again(
    client: GatewayClient, gateway: "Gateway", trouble: Callable[[Any], Any]
) -> None:
    gateway.answers[WAIT_PATH] = [trouble, trouble]
    assert client.call(WAIT_PATH, {"n": 1}) == {"answer": "go"}
    assert gateway.said(WAIT_PATH) == [{"n": 1}] * 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422])
def test_a_refusal_is_final(client: GatewayClient, gateway: "Gateway", status: int) -> None:
    gateway.answers[WAIT_PATH] = [lambda message: (status, "", b'{"detail": "stale"}')]
    with pytest.raises(Refused, match=f"{status}.*stale") as caught:
        client.call(WAIT_PATH, {})
    assert caught.value.code == status


def test_retry_after_is_obeyed(client: GatewayClient, gateway: "Gateway") -> None:
    gateway.answers[WAIT_PATH] = [lambda message: (429, "Retry-After: 1\r\n", b"")]
    since = time.monotonic()
    client.call(WAIT_PATH, {})
    assert time.monotonic() - since >= 1


def test_also_where_the_connection_was_used_before(
    client: GatewayClient, gateway: "Gateway"
) -> None:
    client.call(WAIT_PATH, {})
    gateway.answers[WAIT_PATH] = [lambda message: (503, "Retry-After: 1\r\n", b"")]
    since = time.monotonic()
    client.call(WAIT_PATH, {})
    assert time.monotonic() - since >= 1


def test_what_is_asked_is_sent_at_once(client: GatewayClient, gateway: "Gateway") -> None:
    answer = client.ask(WAIT_PATH, {"n": 1})
    gateway.wait_for(WAIT_PATH)
    other = client.ask(WAIT_PATH, {"n": 2})
    assert [told for told, _ in (other(), answer())] == [{"answer": "go"}, {"answer": "go"}]
    assert len(gateway.said(WAIT_PATH)) == 2


def test_what_is_asked_while_nobody_is_there_is_sent_again(
    client: GatewayClient, gateway: "Gateway"
) -> None:
    gateway.go_away()
    answer = client.ask(WAIT_PATH, {"n": 1})
    gateway.come()
    assert answer()[0] == {"answer": "go"}
    gateway.answers[WAIT_PATH] = [lambda message: None]
    assert client.ask(WAIT_PATH, {"n": 2})()[0] == {"answer": "go"}
    assert gateway.said(WAIT_PATH) == [{"n": 1}, {"n": 2}, {"n": 2}]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says when data came")
def test_an_answer_that_is_read_late_says_so(client: GatewayClient, gateway: "Gateway") -> None:
    answer = client.ask(WAIT_PATH, {})
    gateway.wait_for(WAIT_PATH)
    time.sleep(0.5)
    _, age = answer()
    assert 0.4 < age < 0.6 if gateway._tcp else age == 0


def test_it_reconnects_after_the_server_was_restarted(
    client: GatewayClient, gateway: "Gateway"
) -> None:
    client.call(WAIT_PATH, {})
    gateway.go_away()
    gateway.come()
    assert client.call(WAIT_PATH, {}) == {"answer": "go"}


@pytest.mark.parametrize(
    "address", ["", "unix:", "http://host", "https://h:1", "h:1", "http://h:x"]
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ValueError, match="neither unix:"):
        GatewayClient(address, "t")


def test_ipv6() -> None:
    client = GatewayClient("http://[::1]:8080", "t")
    assert client._address == ("tcp", ("::1", 8080), "[::1]:8080")


# --- steps ---


def test_a_result_is_offered_until_the_gateway_is_back(
    steps: "Steps", gateway: "Gateway", alive: Callable[[int], bool]
) -> None:
    steps.start("import time\nprint('up')\ntime.sleep(0.2)\nparams['a'] = 1")
    gateway.wait_for(BEGIN_PATH)
    gateway.go_away()
    time.sleep(0.6)
    assert alive(steps.pid), "it must not give up"
    gateway.come()
    finish = steps.finish()
    assert finish["outcome"] == "succeeded"
    # The time that it took to deliver doesn't count.
    assert finish["elapsed_ms"] < 500


def test_begin_is_repeated_with_the_same_nonce(steps: "Steps", gateway: "Gateway") -> None:
    gateway.answers[BEGIN_PATH] = [lambda message: None, lambda message: (502, "", b"")]
    steps.run("pass")
    begins = gateway.said(BEGIN_PATH)
    assert len(begins) == 3
    assert len({begin["nonce"] for begin in begins}) == 1


def test_the_server_is_not_there_yet(steps: "Steps", gateway: "Gateway") -> None:
    gateway.serve("params['a'] = 1")
    gateway.go_away()
    steps.spawn()
    time.sleep(0.2)
    gateway.come()
    assert steps.finish()["outcome"] == "succeeded"


def test_its_turn_already_it_needs_no_wait(steps: "Steps", gateway: "Gateway") -> None:
    steps.run("pass")
    assert [path for path, _ in gateway.calls] == [BEGIN_PATH, FINISH_PATH]


def test_told_to_wait_it_waits_and_begins_again(steps: "Steps", gateway: "Gateway") -> None:
    gateway.answers[BEGIN_PATH] = [lambda message: {"answer": "wait"}] * 2
    gateway.answers[WAIT_PATH] = [lambda message: {"answer": "wait"}]
    steps.run("pass")
    assert [path for path, _ in gateway.calls] == [
        *(BEGIN_PATH, WAIT_PATH, WAIT_PATH),
        *(BEGIN_PATH, WAIT_PATH),
        *(BEGIN_PATH, FINISH_PATH),
    ]
    assert len({begin["nonce"] for begin in gateway.said(BEGIN_PATH)}) == 1


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        (WAIT_PATH, {"answer": "leave", "reason": "RunOver"}),
        (WAIT_PATH, (401, "", b"")),
        (BEGIN_PATH, {"answer": "leave"}),
        (BEGIN_PATH, (403, "", b"")),
    ],
)
def test_told_to_leave_it_leaves(
    steps: "Steps", gateway: "Gateway", path: str, answer: Any
) -> None:
    gateway.answers[BEGIN_PATH] = [lambda message: {"answer": "wait"}] * (path == WAIT_PATH)
    gateway.answers.setdefault(path, []).append(lambda message: answer)
    steps.start("print('ran')")
    assert steps.exited()["code"] == 0
    assert gateway.said(FINISH_PATH) == []
    assert steps.log() == ""


def test_a_result_nobody_wants_is_told_in_the_log(steps: "Steps", gateway: "Gateway") -> None:
    gateway.answers[FINISH_PATH] = [lambda message: (409, "", b"another attempt")]
    steps.start("pass")
    assert steps.exited()["code"] == 0
    assert "the outcome wasn't taken: the gateway refused (409): another attempt" in steps.log()


def test_an_outage_is_told_in_the_log(gateway: "Gateway") -> None:
    told: list[str] = []
    client = GatewayClient(gateway.address, "t", on_trouble=told.append)
    gateway.serve("pass")
    gateway.answers[CHILD_PATH] = [lambda message: time.sleep(3.1), lambda message: None]
    client.call(CHILD_PATH, {})
    assert len(told) == 1
    assert "the gateway is away" in told[0]
    client.close()
    assert gateway.path.exists()
