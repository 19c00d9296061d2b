"""`xaas logs`: what the scripts of a run wrote."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.text import Text

from xaas_cli.board import Board
from xaas_cli.client import Api, Json, escaped
from xaas_cli.failures import Failure, Refused
from xaas_cli.printing import write
from xaas_cli.states import Side, Status
from xaas_cli.symbols import tame

POLL_S: Final = 0.5
"""Between two looks for tasks that have begun."""


def path_of(id: str, ref: str, side: Side) -> str:
    """The path of a task run's log."""
    return f"/pipelineruns/{escaped(id)}/tasks/{escaped(ref)}/{side}/logs"


def one(api: Api, path: str, *, step: int | None, follow: bool) -> None:
    """Print one task run's log, while it is written if `follow`."""
    for line in api.lines(path, _query(step, follow)):
        write(_tamed(line))


def every(api: Api, out: Console, id: str, side: Side, step: int | None) -> None:
    """Print the logs of all task runs of a side that began, each under its heading."""
    for task in _begun(api.tasks(id), side):
        out.print(Text(f"== {tame(task['ref'])} {tame(task['name'])} ({side}) ==", "bold"))
        try:
            one(api, path_of(id, task["ref"], side), step=step, follow=False)
        except Refused as refused:
            if refused.status not in (404, 410):
                raise
            out.print(Text(f"({refused.said})", "dim"), soft_wrap=True)


def follow_every(api: Api, out: Console, id: str, side: Side, step: int | None) -> None:
    """Print the lines of all task runs of a side as they come, each with its ref, until the run is
    at rest. One thread reads each log."""
    readers: dict[str, threading.Thread] = {}
    board = Board(id)

    def read(task: Json) -> None:
        path = path_of(id, task["ref"], side)
        label = Text(f"{tame(task['ref'])} | ", "dim")
        with contextlib.suppress(Failure):  # the run was deleted, or the server is gone
            for line in api.lines(path, _query(step, follow=True)):
                out.print(label + Text(_tamed(line)), soft_wrap=True)

    while True:
        run, tasks = api.run(id), api.tasks(id)
        board.see(run, tasks)
        for task in _begun(tasks, side):
            if task["ref"] not in readers:
                reader = threading.Thread(target=read, args=(task,), daemon=True)
                readers[task["ref"]] = reader
                reader.start()
        if board.at_rest:
            break
        time.sleep(POLL_S)
    for reader in readers.values():
        reader.join()


def _begun(tasks: list[Json], side: Side) -> Iterator[Json]:
    for task in tasks:
        began = task["attempts"] and task["status"] != Status.SKIPPED
        if began and task["process_type"] == side:
            yield task


def _query(step: int | None, follow: bool) -> dict[str, str]:
    query = {} if step is None else {"step": str(step)}
    return query | {"follow": "true"} if follow else query


def _tamed(line: str) -> str:
    # Colours may stay; the runner has made the other sequences harmless.
    return "\x1b".join(tame(part) for part in line.split("\x1b"))
