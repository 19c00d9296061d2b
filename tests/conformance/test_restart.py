"""The server goes away and comes back, as this suite can do with a server of its own only.

Nothing is lost and nothing is repeated: runs, numbers and ids of notifications, idempotency keys.
"""

from collections.abc import Callable, Iterator

import pytest
from tests.conformance.kit.events import EventLog
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import node
from tests.conformance.kit.product import Product
from tests.conformance.kit.rest import Patience, Rest
from tests.conformance.kit.server import Embedded, embedded

pytestmark = pytest.mark.slow
HOW: dict[str, Callable[[Embedded], None]] = {"SIGTERM": Embedded.stop, "SIGKILL": Embedded.kill}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, is_given: bool) -> Iterator[Embedded]:
    if is_given:
        pytest.skip("a server given by --base-url isn't restarted")
    with embedded(tmp_path_factory.mktemp("restarted")) as server:
        yield server


@pytest.fixture
def product(server: Embedded, gate: Gate, patience: Patience) -> Iterator[Product]:
    """As elsewhere, but on a server of this module's own."""
    rest = Rest(server.base_url, None, patience)
    log = EventLog(rest)
    yield Product(rest, log, gate)
    log.close()
    rest.close()


@pytest.mark.parametrize("how", HOW)
def test_amid_a_run(product: Product, server: Embedded, how: str) -> None:
    """A step that had begun is delivered by its process, or `RunnerLost`; it never begins again."""
    gate = product.gate
    nodes = {
        "a": node(gate.note("a"), undo=gate.note("undo a")),
        "b": node(gate.hold("b"), undo=gate.note("undo b"), after="a"),
        "c": node(gate.note("c"), after="b"),
    }
    run = product.run(nodes)
    gate.wait("b")
    HOW[how](server)
    server.start()
    gate.release("b")
    run.wait("complete", "cancelled")
    if run.status() == "complete":
        assert gate.trace == ["a", "b", "c"]
    else:
        assert run.task("b")["reason"] == "RunnerLost"
        assert gate.trace == ["a", "b", "undo b", "undo a"]


@pytest.mark.parametrize("how", HOW)
def test_a_step_that_ends_meanwhile(product: Product, server: Embedded, how: str) -> None:
    """Nobody is there to take the result: the script ended in time, so it counts, once."""
    gate = product.gate
    nodes = {
        "a": node(gate.hold("a") + gate.note("ended") + "params['a'] = 1\n"),
        "b": node(gate.note("b", "params"), after="a"),
    }
    run = product.run(nodes)
    gate.wait("a")
    HOW[how](server)
    gate.release("a")
    gate.wait("ended")
    server.start()
    run.wait("complete")
    assert gate.noted("b") == {"a": 1}
    assert gate.trace == ["a", "ended", "b"]


@pytest.mark.parametrize("how", HOW)
def test_amid_a_rollback(product: Product, server: Embedded, how: str) -> None:
    gate = product.gate
    nodes = {
        "a": node(undo=gate.note("undo a")),
        "b": node(undo=gate.hold("undo b"), after="a"),
        "c": node("1 / 0", undo=gate.note("undo c"), after="b"),
    }
    run = product.run(nodes)
    gate.wait("undo b")
    HOW[how](server)
    server.start()
    gate.release("undo b")
    run.wait("cancelled", "aborted")
    if run.status() == "aborted":
        assert run.task("b", "undo")["reason"] == "RunnerLost"
        run.operate("cancel")
        run.wait("cancelled")
    assert (gate.trace[0], gate.trace[-1]) == ("undo c", "undo a")


@pytest.mark.parametrize("how", HOW)
def test_what_is_kept(product: Product, server: Embedded, how: str) -> None:
    rest = product.rest
    key = {"Idempotency-Key": product.name("key")}
    planned = product.pipeline({"a": node("params['a'] = 1"), "b": node(after="a")})
    body = {"name": planned.pipeline, "parameters": {"x": 1.5}}
    made = rest.call("POST", "/pipelineruns", 201, json=body, headers=key).json()
    waiting = product.adopt(made["instance_id"], planned)
    done = product.run_of(planned)
    done.wait("complete")
    etag = rest.call("GET", f"/pipelines/{planned.pipeline}", 200).headers["ETag"]
    before = [done.get(), done.tasks(), waiting.get(), rest.get("pipelines", planned.pipeline)]
    HOW[how](server)
    server.start()
    after = [done.get(), done.tasks(), waiting.get(), rest.get("pipelines", planned.pipeline)]
    assert after == before
    assert rest.call("GET", f"/pipelines/{planned.pipeline}", 200).headers["ETag"] == etag
    again = rest.send("POST", "/pipelineruns", json=body, headers=key).json()
    assert again["instance_id"] == waiting.id
    waiting.operate("run")
    waiting.wait("complete")


def test_notifications_go_on(product: Product, server: Embedded) -> None:
    """With the last cursor: what happened before and after the restart, each once, same ids."""
    gate = product.gate
    run = product.run({"a": node(gate.hold("a")), "b": node(after="a")})
    gate.wait("a")
    run.wait_message("a do running")
    early = EventLog(product.rest)
    cursor = run.messages()[0].cursor
    server.kill()
    server.start()
    gate.release("a")
    run.wait("complete", "cancelled")
    run.wait_message(f"run {run.status()}")
    whole = [message.body for message in run.messages()]
    early.close()
    late = EventLog(product.rest, cursor)
    late.wait(lambda: len(late.of(run.id)) >= len(whole) - 1, product.patience.wait)
    assert [message.body for message in late.of(run.id)][-len(whole) + 1 :] == whole[1:]
    late.close()
