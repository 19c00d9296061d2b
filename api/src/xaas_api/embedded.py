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
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn import Config

from xaas_api.app import create_app
from xaas_api.auth import AccessError, access_for
from xaas_api.services import Services
from xaas_core.admission import Admission
from xaas_core.children import Children
from xaas_core.controller import Controller
from xaas_core.gateway import Gateway
from xaas_core.gateway_app import gateway_app
from xaas_core.ports import Ports, Unavailable
from xaas_core.tokens import Tokens
from xaas_local.clock import SystemClock
from xaas_local.data import DataDir, DataDirError
from xaas_local.evaluator import ProcessEvaluator
from xaas_local.launcher import ProcessLauncher
from xaas_local.layers import layers
from xaas_local.logs import FileLogs
from xaas_local.store import SqliteStore

STOP_WITHIN: Final = 1
"""Seconds that requests under way have when the server stops."""

KEEP_ALIVE: Final = 75
"""Seconds that an idle connection stays open: more than most clients' pools keep theirs."""

MAX_FRAME: Final = 64 * 1024
"""Bytes of a WebSocket's message to us; nothing is read from them."""


class StartError(Exception):
    """The server can't be started; the text says why and what to do."""


@dataclass(frozen=True)
class Settings:
    """How to serve. `port` 0 takes any free one; without `token_file` only on loopback."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8080
    token_file: Path | None = None


class EmbeddedServer:
    """An async context: the product runs inside it. Raises StartError."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except (AccessError, DataDirError, Unavailable, OSError) as error:
            await self._stack.aclose()
            raise StartError(str(error)) from error
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def failed(self) -> None:
        """Wait until a part of the server ends, which it never should, and raise its error."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        raise RuntimeError(f"{next(iter(done)).get_name()} has ended")

    async def _start(self) -> None:
        settings, stack = self._settings, self._stack
        access = access_for(settings.host, settings.token_file)
        listener = stack.enter_context(listen(settings.host, settings.port))
        data = stack.enter_context(closing(DataDir.open(settings.data)))
        tokens = Tokens(data.key)
        ports = self._open(data)
        admission = Admission(ports.store, ports.evaluator)
        gateway = Gateway(ports.store, ports.clock)
        children = Children(gateway, ports.store, admission, ports.logs)
        runners = gateway_app(gateway, tokens, children)
        # First of all: runners that outlived another server are waiting for it.
        await self._serve("gateway", runners, listen_unix(data.gateway_socket))
        await asyncio.gather(ports.evaluator.start_up(), ports.launcher.start_up())
        self._keep(asyncio.create_task(Controller(ports, tokens).run(), name="controller"))
        api = create_app(Services(ports.store, admission, ports.logs), access)
        await stack.enter_async_context(api.running())
        await self._serve("api", api, listener)
        stack.callback(api.stop_streams)
        host, port = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _open(self, data: DataDir) -> "LocalPorts":
        """The doors of the local backend; evaluator and launcher aren't started yet."""
        clock = SystemClock()
        store = SqliteStore.open(data.database, clock)
        self._stack.push_async_callback(store.close)
        evaluator = ProcessEvaluator()
        self._stack.push_async_callback(evaluator.close)
        launcher = ProcessLauncher(data, f"unix:{data.gateway_socket}")
        self._stack.push_async_callback(launcher.close)
        return LocalPorts(store, launcher, evaluator, FileLogs(data), clock)

    async def _serve(self, name: str, app: ASGIApp, listener: socket.socket) -> None:
        """Serve `app` from now on."""
        server = Server(name, app)
        task = asyncio.create_task(server.serve(sockets=[listener]), name=name)
        self._tasks.append(task)
        self._stack.push_async_callback(server.stop, task)
        ready = asyncio.create_task(server.ready.wait())
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if task.done():
            task.result()

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks.append(task)
        self._stack.push_async_callback(_cancelled, task)


@dataclass
class LocalPorts(Ports):
    """The doors of the local backend, by their own types: two of them are started and ended."""

    evaluator: ProcessEvaluator
    launcher: ProcessLauncher


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


class Server(uvicorn.Server):
    """uvicorn as a part of something larger: it tells when it is ready, and leaves signals alone."""

    def __init__(self, name: str, app: ASGIApp) -> None:
        config = Config(
            app,
            http="httptools",
            ws="websockets-sansio" if name == "api" else "none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws_max_size=MAX_FRAME,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=STOP_WITHIN,
        )
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the business of `serve`."""
        yield

    async def stop(self, serving: "asyncio.Task[None]") -> None:
        """Let requests under way end, then close."""
        self.should_exit = True
        await asyncio.wait([serving])


def listen(host: str, port: int) -> socket.socket:
    """A bound socket on `host`. Raises StartError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family)
    except OSError as error:
        raise StartError(f"{host!r} is no address of this machine: {error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            text = f"port {port} of {host} is taken; stop what uses it, or give another --port"
            raise StartError(text) from None
        raise StartError(f"can't listen on port {port} of {host}: {error.strerror}") from None
    return listener


def listen_unix(path: Path) -> socket.socket:
    """A bound socket at `path`. The data directory is locked: one that is there is a dead one."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    return listener


async def serve(settings: Settings) -> None:
    """Run the product until SIGTERM or SIGINT. Raises StartError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with EmbeddedServer(settings) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        say(f"xaas listens on {server.url} (docs: {server.url}/docs; data: {settings.data})")
        telling = asyncio.create_task(tell_layers())
        # What is loaded now stays: the collector needn't look at it again and again.
        gc.collect()
        gc.freeze()
        asked = asyncio.create_task(stop.wait())
        failed = asyncio.create_task(server.failed())
        await asyncio.wait({asked, failed}, return_when=asyncio.FIRST_COMPLETED)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)  # a second one ends the process at once
        asked.cancel()
        if failed.done():
            failed.result()
        failed.cancel()
        await _cancelled(telling)


async def tell_layers() -> None:
    """Tell which layers every step has around it here (docs/security.md)."""
    for layer, state in (await layers()).items():
        say(f"  each step's {layer}: {state}")


def say(text: str) -> None:
    """Tell whoever started the server."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve as the arguments say, until a signal; the answer is the exit code."""
    parser = argparse.ArgumentParser(prog="xaas up", description="Start the embedded server.")
    parser.add_argument("--data", type=Path, required=True, help="folder of all that is kept")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0: any free one")
    parser.add_argument("--token-file", type=Path, help="file with the bearer token")
    settings = Settings(**vars(parser.parse_args(argv)))
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        with asyncio.Runner(loop_factory=_new_loop()) as runner:
            runner.run(serve(settings))
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _new_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
