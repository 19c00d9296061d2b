"""`xaas demo`: the tutorial, once to its end and once until it fails and is undone.

A server of its own, in a child process on a free port with a temporary folder of data, gone when
the demo ends. What it shows is checked, not only shown: the exit code is 0 only if both runs ended
as they should.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import typer
from rich.console import Console
from rich.text import Text

from xaas_cli.apply import Result, apply
from xaas_cli.board import Board
from xaas_cli.client import Api, Json
from xaas_cli.documents import load
from xaas_cli.examples import example
from xaas_cli.failures import INTERRUPTED, Failure
from xaas_cli.printing import console
from xaas_cli.states import Side, Status
from xaas_cli.symbols import duration, plural
from xaas_cli.watch import Watch

PIPELINE: Final = "tutorial"
FAIL_AT: Final = "10"
"""The task that fails in the second run: by then both long branches are done."""

CUSTOMER: Final = {"customer": "Ada Lovelace", "plan": "fibre-1000"}

PACE_S: Final = 0.4
"""Seconds that each task takes when somebody is looking on."""

START_S: Final = 30.0
"""How long a server may take to be ready on a slow machine."""

STOP_S: Final = 10.0
"""How long it may take to end before it is killed."""

_ADDRESS: Final = re.compile(r"(http://127\.0\.0\.1:\d+)\s")

SHOWN_LOG: Final = 20


def demo() -> None:
    """Show the product: run the tutorial, then let it fail and be rolled back. Needs nothing."""
    out = console()
    folder = example("tutorial")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server must not stay behind
    out.print("Starting a server of its own, with its data in a temporary folder ...")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="xaas-demo-") as data,
            server(Path(data)) as address,
            Api(address) as api,
        ):
            problems = _show(api, out, folder)
    except KeyboardInterrupt:
        out.print("\nInterrupted; the server is stopped and its data are removed.")
        raise typer.Exit(INTERRUPTED) from None
    if problems:
        raise Failure("The demo didn't end as it should:\n" + "\n".join(problems))
    _print_next(out, folder)


def _show(api: Api, out: Console, folder: Path) -> list[str]:
    applied = list(apply(api, load([str(folder)])))
    refused = [problem for each in applied for problem in each.problems]
    if refused:
        return refused
    made = sum(each.result is Result.CREATED for each in applied)
    out.print(f"Applied {folder.name}: {plural(made, 'object')} (11 tasks and their pipeline).\n")

    out.print(Text("1. Everything goes well", "bold"))
    given = CUSTOMER | ({"pace": PACE_S} if out.is_terminal else {})
    complete = _run(api, out, given)
    problems = _expect(complete, Status.COMPLETE)

    out.print(Text(f"\n2. Task {FAIL_AT} fails, and what was done is undone", "bold"))
    cancelled = _run(api, out, given | {"fail_at": FAIL_AT})
    problems += _expect(cancelled, Status.CANCELLED)
    problems += disorder(cancelled, api.definition("pipelines", PIPELINE)["tasks"])

    out.print(Text("\nSummary", "bold"))
    out.print(f"  The first run is {complete.status}, after {_took(complete)}.")
    out.print(
        f"  The second one is {cancelled.status}, after {_took(cancelled)}. Undone, in order:"
    )
    out.print(f"    {' '.join(cancelled.undone())}")
    return problems


def _run(api: Api, out: Console, parameters: Json) -> Board:
    given = " ".join(
        f"-p {key}={shlex.quote(value)}" if isinstance(value, str) else f"-p {key}:={value}"
        for key, value in parameters.items()
    )
    out.print(Text(f"   {_called()} run {PIPELINE} {given} --watch", "dim"), soft_wrap=True)
    made = api.create_run({"name": PIPELINE, "parameters": parameters})
    return Watch(api, made["instance_id"], out).until_rest(start=True)


def _called() -> str:
    """This command as the user can call it: by its name if it is on the PATH, else by its file."""
    found, here = shutil.which("xaas"), Path(sys.executable).with_name("xaas")
    if (found is not None and Path(found) == here) or not here.exists():
        return "xaas"
    return _from_here(here)


def _from_here(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _expect(board: Board, wanted: Status) -> list[str]:
    if board.status is wanted:
        return []
    return [f"  the run should be {wanted}, and is {board.status} ({board.reason or 'no reason'})"]


def disorder(board: Board, entries: Sequence[Json]) -> list[str]:
    """What is wrong with the order of the undos: each must come after those of its dependants, and
    what began must have been undone."""
    undone = board.undone()
    place = {ref: index for index, ref in enumerate(undone)}
    wrong = [
        f"  {entry['ref']} was undone after {before}, on which it depends"
        for entry in entries
        for before in entry.get("dependsOn") or ()
        if entry["ref"] in place and before in place and place[entry["ref"]] > place[before]
    ]
    begun = [ref for ref, row in board.rows.items() if row.sides[Side.DO].started is not None]
    return wrong + [f"  {ref} wasn't undone" for ref in begun if ref not in place]


def _took(board: Board) -> str:
    if board.started is None or board.finished is None:
        return "no time"
    return duration((board.finished - board.started).total_seconds())


def _print_next(out: Console, folder: Path) -> None:
    shown, xaas = _from_here(folder), _called()
    # Short, so that a row fits a terminal of 80 columns.
    rows = [
        (f"{xaas} up", "start a server that stays"),
        ("http://127.0.0.1:8080/docs", "its API, to read and to try"),
        (f"{shown}/tasks.yaml", "edit what it does, then:"),
        (f"{xaas} apply -f {shown}", "tell the server what it says"),
        (f"{xaas} run {PIPELINE} -p customer=You --watch", ""),
    ]
    out.print(Text("\nHow to go on", "bold"))
    width = max(len(command) for command, text in rows if text)
    for command, text in rows:
        row = Text(f"  {command:<{width}}   " if text else f"  {command}", "cyan")
        out.print(row.append(text, "default"), soft_wrap=True)


@contextmanager
def server(data: Path, *options: str) -> Iterator[str]:
    """An embedded server in a child process, on a free port of its own choice; gives its address.

    `options` are further ones of `xaas up`. Raises Failure if it doesn't start.
    """
    command = [sys.executable, "-m", "xaas_cli", "up", "--port", "0", "--data", str(data), *options]
    log = data / "server.log"
    with log.open("wb") as written:
        # A session of its own: Ctrl-C on the terminal ends the demo, which then ends the server.
        child = subprocess.Popen(  # noqa: S603 - our own command
            command,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(),
        )
    try:
        yield _await_ready(child, log)
    finally:
        _stop(child)


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("XAAS_")}


def _await_ready(child: subprocess.Popen[bytes], log: Path) -> str:
    """The server's address, which it tells when it is ready."""
    deadline = time.monotonic() + START_S
    while True:
        said = log.read_text(errors="replace")
        if found := _ADDRESS.search(said):
            return found[1]
        if child.poll() is not None or time.monotonic() > deadline:
            last = said.splitlines()[-SHOWN_LOG:]
            raise Failure("The server didn't start. It said:\n  " + "\n  ".join(last))
        time.sleep(0.05)


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
