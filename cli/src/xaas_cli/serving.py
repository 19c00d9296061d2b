"""`xaas up`: the product on this machine, in this process.

The client knows REST only. Which server there is to start, it learns from the entry points that
installed packages declare in the group `xaas.servers`.
"""

import os
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Final

import typer

from xaas_cli.failures import Failure

GROUP: Final = "xaas.servers"
EMBEDDED: Final = "embedded"

Main = Callable[[list[str]], int | None]


def default_data() -> Path:
    """Where the embedded server keeps its data: XAAS_DATA, or the user's own place for data."""
    if said := os.environ.get("XAAS_DATA"):
        return Path(said)
    home = os.environ.get("XDG_DATA_HOME")
    return (Path(home) if home else Path.home() / ".local" / "share") / "xaas"


def embedded() -> Main:
    """The embedded server's main function. Raises Failure if there is none."""
    for entry in entry_points(group=GROUP, name=EMBEDDED):
        try:
            found: Main = entry.load()
        except ImportError as error:
            raise Failure(
                f"The server's packages aren't complete ({error}); "
                "install them: pip install 'xaas-pipeline[server]'"
            ) from error
        return found
    raise Failure("No server is installed here; install one: pip install 'xaas-pipeline[server]'")


def up(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8080,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the database, the logs and all else that is kept; else XAAS_DATA, else "
            "~/.local/share/xaas.",
            show_default=False,
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File with the token that every request must bring. Needed on every address that "
            "other machines reach.",
            show_default=False,
        ),
    ] = None,
    allow_import: Annotated[
        list[str] | None,
        typer.Option(
            help="A module that every script may import beside the standard ones; may be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start the server on this machine; Ctrl-C stops it, and the next start goes on from there."""
    arguments = ["--host", host, "--port", str(port), "--data", str(data or default_data())]
    if token_file is not None:
        arguments += ["--token-file", str(token_file)]
    arguments += [f"--allow-import={module}" for module in allow_import or ()]
    code = embedded()(arguments)
    if code:
        raise typer.Exit(code)
