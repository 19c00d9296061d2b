"""Commands that start a run or ask something of one: run, watch, cancel, recovery, rollback, ..."""

from typing import Annotated, Any, Final

import typer
from rich.text import Text

from xaas_cli.arguments import parameters as read_parameters
from xaas_cli.board import Board
from xaas_cli.client import Api, Json
from xaas_cli.connection import served
from xaas_cli.documents import load_object
from xaas_cli.failures import INTERRUPTED, Refused
from xaas_cli.printing import console, write
from xaas_cli.states import Status
from xaas_cli.symbols import plural, status_text
from xaas_cli.watch import Watch

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's id, or as much of it as is unique.")
]
WatchOption = Annotated[
    bool, typer.Option("--watch", "-w", help="Show it live until it is at rest.")
]


def follow(api: Api, id: str, *, start: bool = False, wanted: Status = Status.COMPLETE) -> None:
    """Show the run until it is at rest. Ends the command: 0 if it ended as `wanted`, else 1."""
    out = console()
    if not out.is_terminal:  # the picture on a terminal has it in its head
        out.print(f"run {id}")
    try:
        board = Watch(api, id, out).until_rest(start=start)
    except KeyboardInterrupt:
        out.print(f"\nThe run goes on. Watch it again:  xaas watch {id}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    except Refused as refused:
        if refused.status != 404:
            raise
        console(stderr=True).print(f"The run {id} was deleted.")
        raise typer.Exit(1) from None
    out.print(closing(board), soft_wrap=True)
    raise typer.Exit(0 if board.status is wanted else 1)


def closing(board: Board) -> Text:
    """The last line of a watched run: how it ended, and what can be done."""
    text = Text("The run is ").append_text(status_text(board.status))
    if board.reason:
        text.append(f" ({board.reason})")
    undone = board.undone()
    if undone:
        text.append(f"; {plural(len(undone), 'task')} undone, in this order: {' '.join(undone)}")
    if board.status is Status.ABORTED:
        text.append(
            f"\nGo on with:  xaas recovery {board.id}\n or undo it:  xaas cancel {board.id}"
        )
    elif board.status is not Status.COMPLETE:
        text.append(f"\nWhat happened:  xaas describe run {board.id}")
    return text


@served
def run(  # noqa: PLR0913, PLR0917 - a command's options
    api: Api,
    name: Annotated[str, typer.Argument(help="The Pipeline's name.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "-p",
            metavar="KEY=TEXT",
            help="A parameter: key=text, or key:=JSON for a number, a list, an object. Repeatable.",
        ),
    ] = None,
    parameters: Annotated[
        str | None,
        typer.Option(
            "--parameters", metavar="FILE", help="A YAML or JSON file of them, `-` for stdin."
        ),
    ] = None,
    watch: WatchOption = False,
    timeout: Annotated[
        str | None, typer.Option(help="Longest time, such as 30s or 1h30m; then it is aborted.")
    ] = None,
    auto_rollback: Annotated[
        bool, typer.Option(help="Whether a failed run undoes what it did by itself.")
    ] = True,
    on_abort: Annotated[
        str | None, typer.Option(help="What becomes of running tasks: finish or terminate.")
    ] = None,
    ttl_after_finished: Annotated[
        str | None, typer.Option(help="Remove the run this long after it is over.")
    ] = None,
    suspend: Annotated[
        bool, typer.Option("--suspend", help="Start no task until resumed.")
    ] = False,
    pending: Annotated[bool, typer.Option("--pending", help="Create it, don't start it.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the run's id only.")] = False,
) -> None:
    """Run a Pipeline.

    With --watch the exit code is 0 only if the run ends `complete`.
    """
    if watch and (pending or quiet):
        raise typer.BadParameter("--watch can't be combined with --pending or --quiet")
    given = load_object(parameters) if parameters is not None else {}
    body: dict[str, Any] = {"name": name, "parameters": read_parameters(parameter or (), given)}
    further = {
        "timeout": timeout,
        "autoRollback": None if auto_rollback else False,
        "onAbort": on_abort,
        "ttlAfterFinished": ttl_after_finished,
        "suspend": suspend or None,
        # A watched run starts when the stream of its events is up: none is missed.
        "run": None if watch or pending else True,
    }
    body |= {field: value for field, value in further.items() if value is not None}
    made = api.create_run(body)
    if quiet:
        write(made["instance_id"])
    elif watch:
        follow(api, made["instance_id"], start=True)
    else:
        _say(made)


@served
def watch(api: Api, run: RunName) -> None:
    """Show a run live until it is at rest; exit code 0 only if it ends `complete`."""
    follow(api, api.find_run(run))


@served
def start(api: Api, run: RunName, watch: WatchOption = False) -> None:
    """Start a run that is pending."""
    _operate(api, run, "run", watch)


@served
def cancel(api: Api, run: RunName, watch: WatchOption = False) -> None:
    """Stop a run and undo what it did."""
    _operate(api, run, "cancel", watch)


@served
def recovery(api: Api, run: RunName, watch: WatchOption = False) -> None:
    """Let an aborted run go forwards again: what failed or was undone runs again."""
    _operate(api, run, "recovery", watch)


@served
def rollback(api: Api, run: RunName, watch: WatchOption = False) -> None:
    """Undo a run that is complete."""
    _operate(api, run, "rollback", watch)


@served
def suspend(api: Api, run: RunName) -> None:
    """Start no further task of a run until it is resumed."""
    _say(api.suspend(api.find_run(run), True), "suspended")


@served
def resume(api: Api, run: RunName) -> None:
    """Let a suspended run go on."""
    _say(api.suspend(api.find_run(run), False), "resumed")


_ENDS: Final = {"cancel": Status.CANCELLED, "rollback": Status.CANCELLED}
"""Where an operation leads if all goes well; else to `complete`."""


def _operate(api: Api, run: str, operation: str, watch: bool) -> None:
    id = api.find_run(run)
    done = api.operate(id, operation)
    if watch:
        follow(api, id, wanted=_ENDS.get(operation, Status.COMPLETE))
    else:
        _say(done)


def _say(run: Json, also: str = "") -> None:
    text = Text(f"{run['instance_id']}  {run['name']}  ").append_text(status_text(run["status"]))
    if also:
        text.append(f", {also}")
    out = console()
    out.print(text, soft_wrap=True)
    if out.is_terminal and run["status"] in (Status.PROCESSING, Status.CANCELLING):
        out.print(f"Watch it:  xaas watch {run['instance_id'][:8]}")
