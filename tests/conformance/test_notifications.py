"""Notifications over SSE and WebSocket: shape, order, numbers, stable ids, and going on after a break.

The oracle judges the messages of every run of the whole suite; here is what only these tests see.
"""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from tests.conformance.kit.events import EventLog, Message, messages
from tests.conformance.kit.plan import node
from tests.conformance.kit.product import Product
from tests.conformance.kit.rest import Rest
from tests.conformance.kit.run import Run
from websockets.sync.client import connect


def stream(rest: Rest, cursor: str, enough: Callable[[list[Message]], bool]) -> list[Message]:
    """What a new connection gives from a cursor on, until there is enough."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": cursor}
    timeout = httpx.Timeout(rest.patience.wait)
    found: list[Message] = []
    with rest.http.stream("GET", "/events", headers=headers, timeout=timeout) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        for message in messages(response.iter_lines()):
            found.append(message)
            if enough(found):
                return found
    raise AssertionError(f"the stream ended early: {found}")


def told(product: Product, run: Run) -> list[Message]:
    """All messages of a run that is over."""
    run.wait("complete", "cancelled")
    last = f"run {run.status()}"
    run.wait_message(last)
    return run.messages()


class TestOrder:
    def test_causes_come_first(self, product: Product) -> None:
        nodes = {
            "a": node(undo="pass"),
            "b": node(when="False", after="a"),
            "c": node("1 / 0", undo="pass", after="b"),
            "d": node(undo="pass", after="c"),
        }
        run = product.run(nodes)
        assert [message.brief for message in told(product, run)] == [
            "run processing", "a do running", "a do succeeded", "b do skipped",
            "c do running", "c do failed", "run aborted", "run cancelling",
            "d undo skipped", "c undo running", "c undo succeeded", "b undo skipped",
            "a undo running", "a undo succeeded", "run cancelled",
        ]  # fmt: skip

    def test_every_change_even_of_the_quickest(self, product: Product) -> None:
        """Ten tasks in a row, each over in no time: no state is left out."""
        nodes = {"0": node()} | {str(n): node(after=str(n - 1)) for n in range(1, 10)}
        run = product.run(nodes)
        wanted = ["run processing"]
        for number in range(10):
            wanted += [f"{number} do running", f"{number} do succeeded"]
        assert [message.brief for message in told(product, run)] == [*wanted, "run complete"]

    def test_pending_is_never_notified(self, product: Product) -> None:
        run = product.run({"a": node()}, run=False)
        other = product.complete({"a": node()})
        other.wait_message("run complete")
        assert run.messages() == []

    def test_as_a_get_shows_it(self, product: Product) -> None:
        """What was notified is what a GET shows: ids, names, runners."""
        run = product.run({"a": node(undo="pass"), "b": node("1 / 0", after="a")})
        last: dict[tuple[str, str], Any] = {}
        for message in told(product, run):
            if message.event == "PipelineTask":
                last[message.content["ref"], message.content["process_type"]] = message.content
        shown = run.tasks()
        for key, content in last.items():
            assert content == {member: shown[key][member] for member in content}

    def test_times_are_those_of_the_changes(self, product: Product) -> None:
        run = product.run({"a": node(), "b": node(after="a")})
        times = [message.body["time"] for message in told(product, run)]
        assert times == sorted(times)
        assert run.get()["created_at"] <= times[0]

    def test_ids_are_unique(self, product: Product) -> None:
        runs = [product.run({"a": node()}) for _ in range(3)]
        ids = [message.id for run in runs for message in told(product, run)]
        assert len(set(ids)) == len(ids)
        assert all(ids)


class TestResuming:
    @pytest.mark.parametrize("after", [0, 3, 6])
    def test_from_any_message(self, product: Product, after: int) -> None:
        """Everything that followed comes again, the same; repeats before it are allowed."""
        run = product.run({"a": node(), "b": node(after="a"), "c": node(after="b")})
        whole = told(product, run)
        wanted = [message.body for message in whole[after + 1 :]]

        def enough(found: list[Message]) -> bool:
            return any(message.body == whole[-1].body for message in found)

        found = stream(product.rest, whole[after].cursor, enough)
        mine = [message.body for message in found if message.run == run.id]
        assert mine[-len(wanted) :] == wanted
        assert [body for body in mine if body not in [m.body for m in whole]] == []

    def test_what_happened_meanwhile(self, product: Product) -> None:
        """Nobody listened while a run went its way: nothing of it is lost."""
        first = product.run({"a": node()})
        cursor = told(product, first)[-1].cursor
        run = product.run({"a": node(undo="pass"), "b": node("1 / 0", after="a")})
        whole = told(product, run)
        found = stream(product.rest, cursor, lambda found: found[-1].body == whole[-1].body)
        mine = [message.body for message in found if message.run == run.id]
        assert mine == [message.body for message in whole]

    def test_then_it_goes_on_live(self, product: Product) -> None:
        gate = product.gate
        run = product.run({"a": node(gate.hold("a")), "b": node(after="a")})
        gate.wait("a")
        run.wait_message("a do running")
        cursor = run.messages()[0].cursor

        def enough(found: list[Message]) -> bool:
            mine = [message.brief for message in found if message.run == run.id]
            if "a do running" in mine:
                gate.release("a")
            return "run complete" in mine

        found = stream(product.rest, cursor, enough)
        briefs = [message.brief for message in found if message.run == run.id]
        wanted = [
            "a do running",
            "a do succeeded",
            "b do running",
            "b do succeeded",
            "run complete",
        ]
        assert briefs[-len(wanted) :] == wanted

    @pytest.mark.parametrize("cursor", ["nonsense", "🚀", "0", "-1", "9" * 50, "a:b:c"])
    def test_a_cursor_that_never_was(self, product: Product, cursor: str) -> None:
        """A clear refusal, or a stream that works; never an error of the server."""
        headers = [(b"Last-Event-ID", cursor.encode())]
        timeout = httpx.Timeout(product.patience.wait)
        with product.rest.http.stream(
            "GET", "/events", headers=headers, timeout=timeout
        ) as response:
            assert response.status_code in {200, 400, 410, 422}
            if response.status_code == 200:
                run = product.run({"a": node()})
                assert any(message.run == run.id for message in messages(response.iter_lines()))

    def test_past_a_deleted_run(self, product: Product) -> None:
        """The cursor of a run that is gone is still good for those that came after."""
        gone = product.run({"a": node()})
        cursor = told(product, gone)[-1].cursor
        gone.delete()
        run = product.run({"a": node()})
        whole = told(product, run)
        found = stream(product.rest, cursor, lambda found: found[-1].body == whole[-1].body)
        mine = [message.body for message in found if message.run == run.id]
        assert mine == [message.body for message in whole]


class TestListeners:
    def test_two_hear_the_same(self, product: Product, rest: Rest) -> None:
        other = EventLog(rest)
        try:
            run = product.run({"a": node(), "b": node(after="a")})
            whole = told(product, run)
            other.wait(lambda: len(other.of(run.id)) >= len(whole), product.patience.wait)
            assert [m.body for m in other.of(run.id)] == [m.body for m in whole]
        finally:
            other.close()

    def test_one_that_leaves_hurts_nobody(self, product: Product) -> None:
        run = product.run({"a": node(product.gate.hold("a"))})
        product.gate.wait("a")
        run.wait_message("a do running")
        for _ in range(5):
            stream(product.rest, run.messages()[0].cursor, lambda found: len(found) > 0)
        product.gate.release("a")
        told(product, run)


OVER = {"complete", "cancelled"}


def heard(rest: Rest, run_of: Callable[[], Run], after: str | None = None) -> list[Any]:
    """What a WebSocket tells of a run, made once it is open, until the run is over."""
    query = "" if after is None else "?" + urlencode({"after": after})
    url = rest.base_url.replace("http", "ws", 1) + "/events" + query
    found: list[Any] = []
    with connect(url, additional_headers=rest.headers, proxy=None) as socket:
        run = run_of()
        while not (found and found[-1]["content"]["status"] in OVER):
            body = json.loads(socket.recv(timeout=rest.patience.wait))
            if run.id in {body["content"].get("owner_id"), body["content"]["instance_id"]}:
                found.append(body)
    return found


def without_cursor(body: Any) -> Any:
    """A WebSocket has no place for SSE's id but the message itself."""
    return {member: value for member, value in body.items() if member != "cursor"}


class TestWebSocket:
    def test_the_same_messages(self, product: Product) -> None:
        nodes = {"a": node(undo="pass"), "b": node("1 / 0", after="a")}
        found = heard(product.rest, lambda: product.run(nodes))
        whole = told(product, product.runs[0])
        assert [without_cursor(body) for body in found] == [message.body for message in whole]

    def test_goes_on_after_a_cursor(self, product: Product) -> None:
        run = product.run({"a": node(), "b": node(after="a")})
        whole = told(product, run)
        for cursor in (
            whole[1].cursor,
            heard(product.rest, lambda: run, whole[0].cursor)[0]["cursor"],
        ):
            again = [without_cursor(body) for body in heard(product.rest, lambda: run, cursor)]
            wanted = [message.body for message in whole[2:]]
            assert again[-len(wanted) :] == wanted

    def test_many_at_once(self, product: Product) -> None:
        url = product.rest.base_url.replace("http", "ws", 1) + "/events"
        headers = product.rest.headers
        with (
            connect(url, additional_headers=headers, proxy=None) as one,
            connect(url, additional_headers=headers, proxy=None) as two,
        ):
            run = product.run({"a": node()})
            for socket in (one, two):
                ids = set()
                while run.id not in ids:
                    body = json.loads(socket.recv(timeout=product.patience.wait))
                    ids.add(body["content"].get("instance_id"))
        run.wait("complete")
