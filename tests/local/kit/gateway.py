"""A gateway for runners of tests: scripts by step, begins and outcomes as they were reported.

It keeps the contract's rules (a step begins once, after the one before has finished), without the
store and the engine behind the real one.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


@dataclass
class Attempt:
    """What a token opens: a script for each step, and what became of it."""

    scripts: dict[int, str]
    begun: dict[int, str] = field(default_factory=dict)
    finished: dict[int, Answer] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    waiting: set[int] = field(default_factory=set)

    def answer(self, path: str, call: Answer) -> Answer:
        step = call["step"]
        if path == "/v1/finish":
            assert self.begun[step] == call["nonce"]
            self.finished[step] = call
            follows = call["outcome"] == "succeeded" and step != max(self.scripts)
            return {"answer": "recorded", "next": follows}
        earlier = [each for each in self.scripts if each < step]
        if any(each not in self.finished for each in earlier):
            self.waiting.add(step)
            return {"answer": "wait"}
        if any(self.finished[each]["outcome"] != "succeeded" for each in earlier):
            self.refused.append(step)
            return {"answer": "leave"}
        if path == "/v1/wait":
            return {"answer": "go"}
        if self.begun.setdefault(step, call["nonce"]) != call["nonce"]:
            self.refused.append(step)
            return {"answer": "leave"}
        return {"answer": "go", "script": self.scripts[step], "params": {}, "context": CONTEXT}


CONTEXT = {
    "run_id": "run",
    "pipeline": "pipeline",
    "ref": "a",
    "task": "task a",
    "process_type": "do",
    "step": 0,
    "attempt": 1,
    "namespace": "default",
}


class ToyGateway:
    """Serves on a Unix socket, between `open` and `close`; attempts are added by token."""

    def __init__(self, path: Path) -> None:
        self.address = f"unix:{path}"
        self.attempts: dict[str, Attempt] = {}
        self._path = path
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self._clients: set[asyncio.StreamWriter] = set()

    def add(self, token: str, *scripts: str) -> Attempt:
        """Steps 0, 1, … of an attempt."""
        attempt = self.attempts[token] = Attempt(dict(enumerate(scripts)))
        return attempt

    async def open(self) -> None:
        """Listen."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def close(self) -> None:
        """Be away."""
        if self._server is not None:
            self._server.close()
            for client in list(self._clients):
                client.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def until(self, wanted: Callable[[], object]) -> None:
        """Wait until something is true; it is looked at after every call."""
        async with asyncio.timeout(20):
            while not wanted():
                self._changed.clear()
                await self._changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = json.loads(await reader.readexactly(int(fields["content-length"])))
                token = fields["authorization"].removeprefix("bearer ")
                answer = self.attempts[token].answer(head[0].split()[1], body)
                text = json.dumps(answer).encode()
                reply = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n".encode()
                writer.write(reply + text)
                await writer.drain()
                self._changed.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._clients.discard(writer)
            writer.close()
