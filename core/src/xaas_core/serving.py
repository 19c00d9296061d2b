"""What every server of the product is made of: its parts, its HTTP side, its beginning and end.

`embedded.py` and `kubernetes.py` each put their `Parts` together, and end them at a signal.
"""

import asyncio
import errno
import gc
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Final, Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn import Config

KEEP_ALIVE: Final = 75
"""Seconds that an idle connection stays open: more than most clients' pools keep theirs."""

MAX_FRAME: Final = 64 * 1024
"""Bytes of a WebSocket's message to us; nothing is read from them."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StartError(Exception):
    """The server can't be started; the text says why and what to do."""


class Server(uvicorn.Server):
    """uvicorn as a part of something larger: it tells when it is ready, and leaves signals alone.

    `stop_within`: seconds that requests under way have when it is stopped.
    """

    def __init__(self, app: ASGIApp, *, stop_within: int, web_sockets: bool = False) -> None:
        config = Config(
            app,
            http="httptools",
            ws="websockets-sansio" if web_sockets else "none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws_max_size=MAX_FRAME,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=stop_within,
        )
        super().__init__(config)
        self.ready = asyncio.Event()
        self.serving: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the business of `until_told`."""
        yield

    def start(self, name: str, listener: socket.socket) -> "asyncio.Task[None]":
        """Serve from now on."""
        self.serving = asyncio.create_task(self.serve(sockets=[listener]), name=name)
        return self.serving

    async def stop(self) -> None:
        """Let requests under way end, then close. Idempotent."""
        self.should_exit = True
        if self.serving is not None:
            await asyncio.wait([self.serving])


class Parts:
    """What a server consists of: ended by `close`, in the reverse order of its start.

    `stack` takes what is only closed; `keep` and `serve` what runs until then.
    """

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def close(self) -> None:
        """End them all."""
        await self.stack.aclose()

    def keep(self, task: "asyncio.Task[None]") -> None:
        """A task that runs as long as the server; cancelled at the end."""
        self._tasks.append(task)
        self.stack.push_async_callback(cancelled, task)

    async def serve(self, name: str, server: Server, listener: socket.socket) -> None:
        """Serve from now on; returns when it listens."""
        task = server.start(name, listener)
        self._tasks.append(task)
        self.stack.push_async_callback(server.stop)
        ready = asyncio.create_task(server.ready.wait())
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if task.done():
            task.result()

    async def failed(self) -> None:
        """Wait until a part ends, which it never should, and raise its error."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        raise RuntimeError(f"{next(iter(done)).get_name()} has ended")


class Assembly:
    """What is put together in `_start`, and works inside of it as an async context.

    `expected`: errors that say why it can't start; they, and OSError, are raised as StartError.
    """

    def __init__(self, *expected: type[Exception]) -> None:
        self._expected = (*expected, OSError)
        self._parts = Parts()

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException as error:
            await self._parts.close()
            if isinstance(error, self._expected):
                raise StartError(str(error)) from error
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._parts.close()

    async def failed(self) -> None:
        """Wait until a part ends, which it never should, and raise its error."""
        await self._parts.failed()

    async def _start(self) -> None:
        """Put it together."""
        raise NotImplementedError


async def cancelled(task: "asyncio.Task[None]") -> None:
    """Cancel `task` and wait for its end."""
    task.cancel()
    await asyncio.wait([task])


def stop_signal() -> asyncio.Event:
    """Set by SIGTERM or SIGINT from now on, until `until_told` has seen it."""
    stop = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def until_told(stop: asyncio.Event, failing: Awaitable[None]) -> None:
    """Wait for the signal, or for what `failing` raises. A second signal ends the process."""
    # What is loaded now stays: the collector needn't look at it again and again.
    gc.collect()
    gc.freeze()
    asked = asyncio.create_task(stop.wait())
    failed = asyncio.ensure_future(failing)
    await asyncio.wait({asked, failed}, return_when=asyncio.FIRST_COMPLETED)
    for number in SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(number)
    asked.cancel()
    if failed.done():
        failed.result()
    failed.cancel()


def listen(host: str, port: int) -> socket.socket:
    """A bound socket on `host`; empty: on all addresses, IPv6's and IPv4's. Raises StartError."""
    both = not host and socket.has_dualstack_ipv6()
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or ("::" if both else "0.0.0.0"),  # noqa: S104 - it is asked for
            port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        listener = socket.socket(family)
    except OSError as error:
        raise StartError(f"{host!r} is no address of this machine: {error}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if both:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            where = f"port {port} of {host or 'this machine'}"
            text = f"{where} is taken; stop what uses it, or give another --port"
            raise StartError(text) from None
        raise StartError(f"can't listen on port {port}: {error.strerror}") from None
    return listener


def url_of(listener: socket.socket) -> str:
    """The address of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def say(text: str) -> None:
    """Tell whoever started the server."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_log(level: str = "warning") -> None:
    """Write what our parts say, from `level` on, and warnings and errors of all others to stderr."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for part in ("xaas_api", "xaas_core", "xaas_kube", "xaas_operator"):
        logging.getLogger(part).setLevel(level.upper())


def new_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster event loop's factory, where there is one."""
    try:
        import uvloop  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
