"""Commands that write objects: apply, delete."""

from typing import Annotated

import typer

from xaas_cli.apply import Result, apply
from xaas_cli.client import Api, escaped
from xaas_cli.connection import served
from xaas_cli.documents import Kind, load
from xaas_cli.objects import ALIASES, kind_of
from xaas_cli.printing import console


@served
def apply_files(
    api: Api,
    file: Annotated[
        list[str],
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="A file, a folder (its *.yaml, *.yml, *.json), or `-` for stdin. Repeatable.",
        ),
    ],
) -> None:
    """Create or replace what files say: tasks, then pipelines, then runs.

    Nothing is applied if a file can't be read.
    """
    out, err = console(), console(stderr=True)
    refused = 0
    for applied in apply(api, load(file)):
        if applied.problems:
            refused += applied.result is Result.REFUSED
            for problem in applied.problems:
                err.print(problem, style="red" if err.is_terminal else None, soft_wrap=True)
        else:
            out.print(str(applied), soft_wrap=True)
    if refused:
        raise typer.Exit(1)


@served
def delete(
    api: Api,
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="task (plt), pipeline (pl) or run (plr).")
    ],
    name: Annotated[list[str], typer.Argument(help="Names, or runs' ids.")],
    force: Annotated[
        bool,
        typer.Option("--force", help="Delete a run that isn't over: stops it, undoes nothing."),
    ] = False,
) -> None:
    """Delete objects. A run must be over; a definition may be in use."""
    which = kind_of(kind)
    if force and which is not Kind.RUN:
        raise typer.BadParameter("--force is for runs; definitions can always be deleted")
    out = console()
    for one in name:
        target = api.find_run(one) if which is Kind.RUN else one
        api.delete(f"/{which.collection}/{escaped(target)}", force=force)
        out.print(f"{ALIASES[which][1]} {target} deleted", soft_wrap=True)
