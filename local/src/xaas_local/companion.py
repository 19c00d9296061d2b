"""A process of the runner's package beside the server, and the talk with it.

Messages are JSON, one a line, over a socket that the process inherits; which ones is the business
of its role (`xaas_runner.warm`, `xaas_runner.evaluate`). A process that ends is replaced; when the
server goes, its end of the socket closes, and the process ends by itself.
"""

import asyncio
import importlib.util
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import xaas_runner.contract
from xaas_core.ports import Unavailable

START_WITHIN: Final = 30.0
"""Seconds that a process may take to be ready."""

_LONGEST_PAUSE: Final = 5.0
_BURY_WITHIN: Final = 2.0
_MAX_LINE: Final = 16 * 1024 * 1024

log = logging.getLogger(__name__)

Message = Mapping[str, Any]


class Companion:
    """Keeps one process of a role alive, from `start_up` to `close`.

    `hear(message)` is called for what it says, `up()` when it is ready, `down()` when it is gone:
    whatever was under way there has no answer then. All in the event loop.
    """

    def __init__(
        self,
        role: str,
        hear: Callable[[Message], None],
        *,
        up: Callable[[], None] = lambda: None,
        down: Callable[[], None] = lambda: None,
    ) -> None:
        self._role = role
        self._hear = hear
        self._up = up
        self._down = down
        self._writer: asyncio.StreamWriter | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self.pid: int | None = None

    async def start_up(self) -> None:
        """Start the process and wait until it is ready. Raises Unavailable."""
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self._role}")
        try:
            await self.ready()
        except Unavailable:
            await self.close()
            raise

    async def ready(self) -> None:
        """Wait until there is a process to talk to. Raises Unavailable."""
        if self._keeper is None:
            raise Unavailable(f"the process `{self._role}` of the runner isn't started")
        try:
            async with asyncio.timeout(START_WITHIN):
                await self._ready.wait()
        except TimeoutError:
            text = (
                f"the process `{self._role}` of the runner can't be started; see the server's log"
            )
            raise Unavailable(text) from None

    async def close(self) -> None:
        """End the process."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])

    def send(self, message: Message) -> bool:
        """Send a message; False if there is nobody to hear it."""
        if self._writer is None or not self._ready.is_set():
            return False
        self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        return True

    async def _keep(self) -> None:
        pause = 0.0
        loop = asyncio.get_running_loop()
        while True:
            since = loop.time()
            try:
                await self._live()
            except Exception:  # whatever it is, there must be another process
                log.exception("the talk with the process %s has failed", self._role)
            lived = loop.time() - since
            pause = 0.0 if lived > _LONGEST_PAUSE else min(max(2 * pause, 0.1), _LONGEST_PAUSE)
            log.warning("the process %s has ended; starting another", self._role)
            await asyncio.sleep(pause)

    async def _live(self) -> None:
        """One process, from its start to its end."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = _start(self._role, theirs)
        except BaseException:
            ours.close()
            raise
        self.pid = process.pid
        reader, writer = await asyncio.open_connection(sock=ours, limit=_MAX_LINE)
        self._writer = writer
        try:
            while line := await reader.readline():
                self._take(json.loads(line))
        finally:
            was_up = self._ready.is_set()
            self._ready.clear()
            self._writer = self.pid = None
            writer.transport.abort()
            if was_up:
                self._down()
            await asyncio.to_thread(_bury, process)

    def _take(self, message: Message) -> None:
        if message.get("event") == "ready":
            self._ready.set()
            self._up()
        else:
            self._hear(message)


def _start(role: str, end: socket.socket) -> subprocess.Popen[bytes]:
    folder = Path(xaas_runner.contract.__file__).parent
    arguments = [sys.executable, "-I", "-S", str(folder), role, "--fd", str(end.fileno())]
    sandbox = importlib.util.find_spec("RestrictedPython")
    if sandbox is not None and sandbox.origin is not None:
        arguments += ["--path", str(Path(sandbox.origin).parent.parent)]
    # A session of its own: what a terminal sends to the server isn't meant for it. Its stderr is
    # the server's: there is nothing on it but tracebacks of our own defects.
    return subprocess.Popen(  # noqa: S603 - nothing of it comes from a user
        arguments,
        env={},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[end.fileno()],
        cwd=os.sep,
        start_new_session=True,
    )


def _bury(process: subprocess.Popen[bytes]) -> None:
    """It ends by itself, with its children if they are to end, since its socket is closed."""
    try:
        process.wait(_BURY_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
