"""The evaluator on Kubernetes: a container beside ours, reached over a Unix socket."""

import asyncio
import contextlib
import json
import logging
from pathlib import Path
from typing import Final

from xaas_core.evaluation import EvaluatorClient, Message
from xaas_core.ports import Unavailable

READY_WITHIN: Final = 30.0
"""Seconds until somebody must be there to talk to: the other container may start later."""

PAUSE: Final = 0.2
"""Seconds between two tries to connect."""

_MAX_LINE: Final = 16 * 1024 * 1024

log = logging.getLogger(__name__)


class SocketEvaluator(EvaluatorClient):
    """Implements `xaas_core.ports.Evaluator`. From one event loop, between `start_up` and `close`."""

    def __init__(self, path: Path) -> None:
        super().__init__(self)
        self._path = path
        self._writer: asyncio.StreamWriter | None = None
        self._connected = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def start_up(self) -> None:
        """Connect, and wait until that is done. Raises Unavailable."""
        self._keeper = asyncio.create_task(self._keep(), name="evaluator")
        try:
            await self.ready()
        except Unavailable:
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect; requests under way raise Unavailable."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])

    # --- the channel ---

    async def ready(self) -> None:
        """Wait until the evaluator is there. Raises Unavailable."""
        try:
            async with asyncio.timeout(READY_WITHIN):
                await self._connected.wait()
        except TimeoutError:
            raise Unavailable(f"the evaluator at {self._path} doesn't answer") from None

    def send(self, message: Message) -> bool:
        """Send a message; False if there is nobody to hear it."""
        if self._writer is None or not self._connected.is_set():
            return False
        self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        return True

    async def _keep(self) -> None:
        while True:
            with contextlib.suppress(OSError, ValueError):
                await self._talk()
            await asyncio.sleep(PAUSE)

    async def _talk(self) -> None:
        """One connection, from its start to its end."""
        reader, writer = await asyncio.open_unix_connection(str(self._path), limit=_MAX_LINE)
        self._writer = writer
        try:
            while line := await reader.readline():
                message = json.loads(line)
                if message.get("event") == "ready":
                    self._connected.set()
                else:
                    self.hear(message)
        finally:
            self._connected.clear()
            self._writer = None
            writer.transport.abort()
            self.lost()
        log.warning("the evaluator at %s is gone, connecting again", self._path)
