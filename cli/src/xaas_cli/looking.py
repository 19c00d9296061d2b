"""Commands that show something: get, describe, logs, events."""

from typing import Annotated

import typer

from xaas_cli import logs as log_reader
from xaas_cli.client import Api
from xaas_cli.connection import served
from xaas_cli.describing import describe_pipeline, describe_run, describe_task
from xaas_cli.documents import Kind
from xaas_cli.events import EventFormat, print_events
from xaas_cli.objects import kind_of, show
from xaas_cli.printing import Format, console
from xaas_cli.running import RunName
from xaas_cli.states import Side

KindWord = Annotated[
    str,
    typer.Argument(metavar="KIND", help="tasks (plt), pipelines (pl) or runs (plr)."),
]


@served
def get(  # noqa: PLR0913, PLR0917 - a command's options
    api: Api,
    kind: KindWord,
    name: Annotated[str | None, typer.Argument(help="One object's name, or run's id.")] = None,
    output: Annotated[Format, typer.Option("--output", "-o", help="How to print.")] = Format.TABLE,
    status: Annotated[str | None, typer.Option(help="Runs in this state only.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Runs of this Pipeline only.")] = None,
    category: Annotated[str | None, typer.Option(help="Of this category only.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the newest.")] = None,
) -> None:
    """List objects, newest first, or print one."""
    which = kind_of(kind)
    if name is None:
        filters = {"status": status, "pipeline": pipeline, "category": category}
        said = {field: value for field, value in filters.items() if value is not None}
        if which is not Kind.RUN and (status or pipeline):
            raise typer.BadParameter("--status and --pipeline are for runs")
        objects = list(api.items(which.collection, said, limit=limit))
    elif which is Kind.RUN:
        objects = [api.run(api.find_run(name))]
    else:
        objects = [api.definition(which.collection, name)]
    show(which, objects, output, single=name is not None)


@served
def describe(
    api: Api,
    kind: KindWord,
    name: Annotated[str, typer.Argument(help="The object's name, or the run's id.")],
) -> None:
    """Print an object with all that belongs to it; of a run also its tasks and their errors."""
    which = kind_of(kind)
    out = console()
    if which is Kind.RUN:
        id = api.find_run(name)
        describe_run(out, api, api.run(id), api.tasks(id))
    elif which is Kind.PIPELINE:
        describe_pipeline(out, api.definition(which.collection, name))
    else:
        describe_task(out, api.definition(which.collection, name))


@served
def logs(
    api: Api,
    run: RunName,
    ref: Annotated[str | None, typer.Argument(help="One task's ref; else all that began.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Of the undo, not of the do.")] = False,
    step: Annotated[int | None, typer.Option(min=0, help="One step, from 0; else all.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on while it is written.")
    ] = False,
) -> None:
    """Print what the scripts of a run wrote."""
    id = api.find_run(run)
    side = Side.UNDO if undo else Side.DO
    if ref is not None:
        log_reader.one(api, log_reader.path_of(id, ref, side), step=step, follow=follow)
    elif follow:
        log_reader.follow_every(api, console(), id, side, step)
    else:
        log_reader.every(api, console(), id, side, step)


@served
def events(
    api: Api,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Of this run only.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Those from now on, as they come.")
    ] = False,
    all_: Annotated[
        bool, typer.Option("--all", help="With --follow: those that are kept, too.")
    ] = False,
    output: Annotated[
        EventFormat, typer.Option("--output", "-o", help="How to print.")
    ] = EventFormat.LINES,
) -> None:
    """Print changes of state: those that are kept, or with --follow what comes."""
    query = {"instance_id": api.find_run(run)} if run is not None else {}
    if all_ or not follow:
        query["after"] = ""
    print_events(api, console(), query, output, follow=follow)
