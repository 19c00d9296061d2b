"""Which server a command talks to: options, environment, default.

Every command that needs the server is decorated with `served`: it gets an `Api` as its first
argument, and its help shows the options of the connection in a panel of their own. The same options
are understood before the command's name, too.
"""

import functools
import inspect
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Concatenate, Final, ParamSpec

import typer

from xaas_cli.client import DEFAULT_SERVER, Api
from xaas_cli.failures import INTERRUPTED, Misuse

P = ParamSpec("P")

_PANEL: Final = "Server"

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help=f"The server's address; else XAAS_SERVER, else {DEFAULT_SERVER}.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        help="Bearer token; else XAAS_TOKEN. Others can see it in the list of processes: "
        "better use --token-file.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        help="A file that holds the token; else XAAS_TOKEN_FILE.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        "-n",
        help="Namespace to work in; else XAAS_NAMESPACE, else the server's own.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Connection:
    """What was said of the server; None: nothing."""

    server: str | None = None
    token: str | None = None
    token_file: Path | None = None
    namespace: str | None = None

    def over(self, other: "Connection") -> "Connection":
        """This one, completed by `other`. A token and a file of one name each other out."""
        values = {
            field.name: getattr(self, field.name) or getattr(other, field.name)
            for field in fields(self)
        }
        if self.token or self.token_file:
            values |= {"token": self.token, "token_file": self.token_file}
        return Connection(**values)

    def open(self) -> Api:
        """Connect. Raises Misuse."""
        if self.token and self.token_file:
            raise Misuse("--token and --token-file exclude each other")
        token = read_token(self.token_file) if self.token_file else self.token
        return Api(self.server or DEFAULT_SERVER, token, self.namespace)


def from_environment() -> Connection:
    """What the XAAS_… variables say."""
    file = os.environ.get("XAAS_TOKEN_FILE")
    token = os.environ.get("XAAS_TOKEN") or None
    return Connection(
        os.environ.get("XAAS_SERVER") or None,
        token,
        Path(file) if file and not token else None,
        os.environ.get("XAAS_NAMESPACE") or None,
    )


def read_token(file: Path) -> str:
    """The token in `file`. Raises Misuse."""
    try:
        token = file.read_text().strip()
        is_open = bool(file.stat().st_mode & stat.S_IWOTH)
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"the token file {file} can't be read: {error}") from None
    if is_open:
        raise Misuse(f"everybody can write the token file {file}; do: chmod 600 {file}")
    if not token or not token.isascii() or any(char.isspace() for char in token):
        raise Misuse(f"the token file {file} must hold one word of ASCII")
    return token


def connection_options(
    context: typer.Context,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
    namespace: Namespace = None,
) -> None:
    """Take the options before the command's name: the application's callback."""
    context.obj = Connection(server, token, token_file, namespace)


def served(command: Callable[Concatenate[Api, P], None]) -> Callable[..., None]:
    """A command that gets an `Api` first; its own options, and those of the connection."""

    @functools.wraps(command)
    def run(context: typer.Context, **options: Any) -> None:
        said = Connection(**{field.name: options.pop(field.name) for field in fields(Connection)})
        before = context.obj if isinstance(context.obj, Connection) else Connection()
        with said.over(before).over(from_environment()).open() as api:
            try:
                command(api, **options)  # type: ignore[call-arg]
            except KeyboardInterrupt:
                raise typer.Exit(INTERRUPTED) from None

    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    common = list(inspect.signature(connection_options, eval_str=True).parameters.values())
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in (common[0], *own, *common[1:])
    ]
    # Typer reads what a command takes from here.
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
