"""The watch between events and snapshots, in an order that a real server gives once in forty times."""

from typing import Any

import pytest
from rich.console import Console
from tests.cli.kit.events import Events, run, task

from xaas_cli import watch
from xaas_cli.states import Status


class Server:
    """What a run's server tells, in order: batches of events, and the run's state at each snapshot."""

    def __init__(self, batches: list[list[Any]], states: list[str]) -> None:
        self._batches = batches
        self._states = states
        self.live = True

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def take(self, patience: float) -> list[Any]:
        return self._batches.pop(0)

    def run(self, id: str) -> Any:
        return run(self._states.pop(0) if len(self._states) > 1 else self._states[0])

    def tasks(self, id: str) -> Any:
        return [task("a", "failed")]

    def definition(self, resource: str, name: str) -> Any:
        return {"tasks": []}


def test_an_abort_that_is_only_passed_through_is_no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    events = Events()
    batches = [
        [events.run("processing"), events.task("a", "running")],
        [events.task("a", "failed"), events.run("aborted")],
        [events.run("cancelling")],
        [events.run("cancelled")],
    ]
    server = Server(batches, ["pending", "cancelling", "cancelling", "cancelled"])
    monkeypatch.setattr(watch, "Feed", lambda api, params: server)
    console = Console(record=True, width=100)
    board = watch.Watch(server, "r", console).until_rest()  # type: ignore[arg-type]
    assert board.status is Status.CANCELLED
    lines = [line.split() for line in console.export_text().splitlines()]
    told = [words[-1] for words in lines if words[2:3] == ["run"]]
    assert told == ["processing", "aborted", "cancelling", "cancelled"]
