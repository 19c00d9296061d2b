"""The embedded product: everything in one process, on one data directory.

    REST, events  uvicorn on host:port           the users' door
    gateway       uvicorn on <data>/gateway.sock  the runners' door
    controller    reconciles every live run
    launcher      the warm process that forks the steps
    evaluator     the process that compiles and evaluates users' sources

`EmbeddedServer` starts them in the order in which they need each other and ends them in the reverse
order. Ending the server ends no step: its process goes on, and the next server on the same data
directory takes it over, whether this one was stopped or killed.
"""

import argparse
import asyncio
import socket
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from xaas_api.app import create_app
from xaas_api.auth import AccessError, access_for
from xaas_api.services import Services
from xaas_core.admission import Admission
from xaas_core.children import Children
from xaas_core.clock import SystemClock
from xaas_core.controller import Controller
from xaas_core.gateway import Gateway
from xaas_core.gateway_app import gateway_app
from xaas_core.ports import Ports, Unavailable
from xaas_core.serving import (
    Assembly,
    Server,
    StartError,
    cancelled,
    listen,
    new_loop,
    say,
    stop_signal,
    until_told,
    url_of,
    write_log,
)
from xaas_core.tokens import Tokens
from xaas_local.data import DataDir, DataDirError
from xaas_local.evaluator import ProcessEvaluator
from xaas_local.launcher import ProcessLauncher
from xaas_local.layers import layers
from xaas_local.logs import FileLogs
from xaas_local.store import SqliteStore

STOP_WITHIN: Final = 1
"""Seconds that requests under way have when the server stops."""


@dataclass(frozen=True)
class Settings:
    """How to serve. `port` 0 takes any free one; without `token_file` only on loopback."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8080
    token_file: Path | None = None
    allowed_imports: Sequence[str] = ()


class EmbeddedServer(Assembly):
    """An async context: the product runs inside it. Raises StartError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__(AccessError, DataDirError, Unavailable)
        self.url = ""

    async def _start(self) -> None:
        settings, parts, stack = self._settings, self._parts, self._parts.stack
        access = access_for(settings.host, settings.token_file)
        listener = stack.enter_context(listen(settings.host, settings.port))
        data = stack.enter_context(closing(DataDir.open(settings.data)))
        tokens = Tokens(data.key)
        ports = self._open(data)
        admission = Admission(ports.store, ports.evaluator, settings.allowed_imports)
        gateway = Gateway(ports.store, ports.clock)
        children = Children(gateway, ports.store, admission, ports.logs)
        runners = Server(gateway_app(gateway, tokens, children), stop_within=STOP_WITHIN)
        # First of all: runners that outlived another server are waiting for it.
        await parts.serve("gateway", runners, listen_unix(data.gateway_socket))
        stack.callback(gateway.polls.end)  # who waits asks the server that comes next
        await asyncio.gather(ports.evaluator.start_up(), ports.launcher.start_up())
        parts.keep(
            asyncio.create_task(Controller(ports, tokens, admission).run(), name="controller")
        )
        api = create_app(Services(ports.store, admission, ports.logs), access)
        await stack.enter_async_context(api.running())
        users = Server(api, stop_within=STOP_WITHIN, web_sockets=True)
        await parts.serve("api", users, listener)
        stack.callback(api.stop_streams)
        self.url = url_of(listener)

    def _open(self, data: DataDir) -> "LocalPorts":
        """The doors of the local backend; evaluator and launcher aren't started yet."""
        clock = SystemClock()
        store = SqliteStore.open(data.database, clock)
        self._parts.stack.push_async_callback(store.close)
        evaluator = ProcessEvaluator()
        self._parts.stack.push_async_callback(evaluator.close)
        launcher = ProcessLauncher(data, f"unix:{data.gateway_socket}")
        self._parts.stack.push_async_callback(launcher.close)
        return LocalPorts(store, launcher, evaluator, FileLogs(data), clock)


@dataclass
class LocalPorts(Ports):
    """The doors of the local backend, by their own types: two of them are started and ended."""

    evaluator: ProcessEvaluator
    launcher: ProcessLauncher


def listen_unix(path: Path) -> socket.socket:
    """A bound socket at `path`. The data directory is locked: one that is there is a dead one."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    return listener


async def serve(settings: Settings) -> None:
    """Run the product until SIGTERM or SIGINT. Raises StartError."""
    async with EmbeddedServer(settings) as server:
        stop = stop_signal()
        say(f"xaas listens on {server.url} (docs: {server.url}/docs; data: {settings.data})")
        telling = asyncio.create_task(tell_layers())
        await until_told(stop, server.failed())
        await cancelled(telling)


async def tell_layers() -> None:
    """Tell which layers every step has around it here (docs/security.md)."""
    for layer, state in (await layers()).items():
        say(f"  each step's {layer}: {state}")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve as the arguments say, until a signal; the answer is the exit code."""
    parser = argparse.ArgumentParser(prog="xaas up", description="Start the embedded server.")
    parser.add_argument("--data", type=Path, required=True, help="folder of all that is kept")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0: any free one")
    parser.add_argument("--token-file", type=Path, help="file with the bearer token")
    parser.add_argument(
        "--allow-import",
        dest="allowed_imports",
        metavar="MODULE",
        action="append",
        default=[],
        help="a module that every script may import beside the standard ones",
    )
    settings = Settings(**vars(parser.parse_args(argv)))
    write_log()
    try:
        with asyncio.Runner(loop_factory=new_loop()) as runner:
            runner.run(serve(settings))
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
