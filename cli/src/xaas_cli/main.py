"""The `xaas` command: what it can do, and how it ends."""

import io
import sys
from typing import NoReturn

import typer

from xaas_cli import demo, looking, running, serving, writing
from xaas_cli.connection import connection_options
from xaas_cli.failures import Failure
from xaas_cli.printing import console

app = typer.Typer(
    name="xaas",
    help="Runs pipelines of Python steps that can be undone.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    callback=connection_options,
)

_HERE = "On this machine"
_WRITE = "Definitions"
_RUN = "Runs"
_LOOK = "Look"

app.command("up", rich_help_panel=_HERE)(serving.up)
app.command("demo", rich_help_panel=_HERE)(demo.demo)
app.command("apply", rich_help_panel=_WRITE)(writing.apply_files)
app.command("delete", rich_help_panel=_WRITE)(writing.delete)
app.command("run", rich_help_panel=_RUN)(running.run)
app.command("watch", rich_help_panel=_RUN)(running.watch)
app.command("start", rich_help_panel=_RUN)(running.start)
app.command("cancel", rich_help_panel=_RUN)(running.cancel)
app.command("recovery", rich_help_panel=_RUN)(running.recovery)
app.command("rollback", rich_help_panel=_RUN)(running.rollback)
app.command("suspend", rich_help_panel=_RUN)(running.suspend)
app.command("resume", rich_help_panel=_RUN)(running.resume)
app.command("get", rich_help_panel=_LOOK)(looking.get)
app.command("describe", rich_help_panel=_LOOK)(looking.describe)
app.command("logs", rich_help_panel=_LOOK)(looking.logs)
app.command("events", rich_help_panel=_LOOK)(looking.events)


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    # Params hold integers of any size; what the server shows must be readable here.
    sys.set_int_max_str_digits(0)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ✔ shows `?`, and no traceback
    try:
        app()
    except Failure as failure:
        console(stderr=True).print(str(failure), soft_wrap=True)
        sys.exit(failure.code)
    sys.exit(0)
