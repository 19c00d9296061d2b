"""A gateway that speaks the contract, and the runner's processes as a server starts them."""

import asyncio
import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import RestrictedPython

import xaas_runner
from xaas_runner import contract

PACKAGE = Path(xaas_runner.__file__).parent
DEPENDENCIES = Path(RestrictedPython.__file__).parent.parent
CONTEXT = {
    "run_id": "run-1",
    "pipeline": "p",
    "ref": "a",
    "task": "T",
    "process_type": "do",
    "step": 0,
    "attempt": 1,
    "namespace": "default",
}


GARBAGE = """
for number in range(40_000):
    cycle = ['x' * 25_000]
    cycle.append(cycle)
"""
"""A gigabyte that nobody refers to but itself: without a collector it fits into no limit."""


class Gateway:
    """Answers on a Unix socket (or on TCP) from a thread of its own; can be away for a while.

    `answers[path]` may hold functions (message) -> answer that go before the usual ones; an
    answer is a dict, or (status, headers, bytes), or None: the connection is cut.
    """

    def __init__(self, folder: Path, *, tcp: bool = False) -> None:
        self.path = folder / "gateway.sock"
        self._tcp = tcp
        self.port = 0
        self.token = "token-1"
        self.begin: dict[str, Any] = {}
        self.answers: dict[str, list[Callable[[dict[str, Any]], Any]]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.tokens: set[str] = set()
        self.finished = threading.Event()
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}" if self._tcp else f"unix:{self.path}"

    def serve(self, script: str, params: dict[str, Any] | None = None, **more: Any) -> None:
        """Hand out this script; then be there."""
        self.begin = {"answer": "go", "script": script, "params": params or {}, "context": CONTEXT}
        self.begin |= {"allowed_imports": [], "budget_ms": None} | more
        self.calls.clear()
        self.finished.clear()
        if self._server is None:
            self.come()

    def come(self) -> None:
        asyncio.run_coroutine_threadsafe(self._come(), self._loop).result(5)

    def go_away(self) -> None:
        asyncio.run_coroutine_threadsafe(self._go_away(), self._loop).result(5)

    def close(self) -> None:
        if self._server is not None:
            self.go_away()
        asyncio.run_coroutine_threadsafe(self._drop_tasks(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _drop_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _come(self) -> None:
        if self._tcp:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, reuse_address=True
            )
            self.port = self._server.sockets[0].getsockname()[1]
        else:
            self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _go_away(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        self._server = None
        self.path.unlink(missing_ok=True)
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                path = head[0].split()[1]
                fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = json.loads(await reader.readexactly(int(fields["content-length"])))
                self.tokens.add(fields["authorization"])
                assert fields["x-xaas-protocol"] == str(contract.PROTOCOL)
                with self._changed:
                    self.calls.append((path, body))
                    self._changed.notify_all()
                answer = await asyncio.get_running_loop().run_in_executor(
                    None, self._answer, path, body
                )
                if answer is None:
                    break
                if isinstance(answer, dict):
                    answer = (200, "", json.dumps(answer).encode())
                status, extra, data = answer
                writer.write(
                    f"HTTP/1.1 {status} X\r\n{extra}Content-Length: {len(data)}\r\n\r\n".encode()
                    + data
                )
                await writer.drain()
                if path == contract.FINISH_PATH and status == 200:
                    self.finished.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def _answer(self, path: str, message: dict[str, Any]) -> Any:
        if self.answers.get(path):
            return self.answers[path].pop(0)(message)
        if path == contract.WAIT_PATH:
            return {"answer": "go"}
        if path == contract.BEGIN_PATH:
            return self.begin
        if path == contract.FINISH_PATH:
            return {"answer": "recorded"}
        return {"error": "no such thing", "code": 404}

    def wait_for(self, path: str, timeout: float = 10) -> dict[str, Any]:
        """Wait until the first call of `path` has come, and return its message."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.said(path), timeout), f"no {path}"
        return self.said(path)[0]

    def said(self, path: str) -> list[dict[str, Any]]:
        return [message for called, message in self.calls if called == path]


class Child:
    """A process of the runner that speaks JSON lines over an inherited socket."""

    def __init__(self, room: str, python: str = sys.executable) -> None:
        self.ours, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [
                python,
                *("-I", "-S", str(PACKAGE), room, "--fd", str(theirs.fileno())),
                *("--path", str(DEPENDENCIES)),
            ],
            env={},
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self._kept: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ready = self.wait(lambda message: message.get("event") == "ready")

    def _read(self) -> None:
        with self.ours.makefile("rb") as lines:
            for line in lines:
                self._messages.put(json.loads(line))

    def send(self, message: dict[str, Any]) -> None:
        self.ours.sendall(json.dumps(message).encode() + b"\n")

    def wait(self, fits: Callable[[dict[str, Any]], bool], timeout: float = 15) -> dict[str, Any]:
        """Return the first message that fits; the others stay for later."""
        deadline = time.monotonic() + timeout
        while True:
            for index, message in enumerate(self._kept):
                if fits(message):
                    return self._kept.pop(index)
            self._kept.append(self._messages.get(timeout=max(0.01, deadline - time.monotonic())))

    def answer(self, message: dict[str, Any], timeout: float = 15) -> dict[str, Any]:
        """Send a request and return the answer with its id."""
        self.send(message)
        return self.wait(lambda answer: answer.get("id") == message["id"], timeout)

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):  # the other end may be gone already
            self.ours.shutdown(socket.SHUT_RDWR)
        self._reader.join(5)
        self.ours.close()

    def close(self) -> None:
        if self.ours.fileno() != -1:
            self.hang_up()
        self.process.wait(5)


class Steps:
    """Runs steps the way the embedded server does: by a warm process."""

    def __init__(self, warm: Child, gateway: Gateway, folder: Path) -> None:
        self.warm = warm
        self.gateway = gateway
        self.folder = folder
        self._count = 0
        self.id = ""
        self._running: set[str] = set()
        self.pid = 0

    def start(self, script: str, params: dict[str, Any] | None = None, **more: Any) -> None:
        """Start a step: `secrets` and `limits` go to the process, the rest is begin's answer."""
        spawn = {name: more.pop(name) for name in ("secrets", "limits") if name in more}
        self.gateway.serve(script, params, **more)
        self.spawn(**spawn)

    def spawn(self, **more: Any) -> dict[str, Any]:
        self._count += 1
        self.pid = 0
        self.id = f"{self.folder.name}-{self._count}"
        answer = self.warm.answer(
            {
                "call": "spawn",
                "id": self.id,
                "gateway": self.gateway.address,
                "token": self.gateway.token,
                "step": 0,
                "log_path": str(self.log_path),
                "lock_path": str(self.lock_path),
                "scratch": str(self.scratch),
                "secrets": {},
                "limits": {"memory_bytes": 128 * 1024 * 1024, "cpu_seconds": 10},
                **more,
            }
        )
        self.pid = answer.get("pid", 0)
        if answer["event"] == "spawned":
            self._running.add(self.id)
        return answer

    def running_pid(self) -> int:
        """The process of the step started last, for a gateway that answers before we know it."""
        deadline = time.monotonic() + 5
        while self.pid == 0:  # kill(0) would mean ourselves
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return self.pid

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self._count}.log"

    @property
    def lock_path(self) -> Path:
        return self.folder / f"{self._count}.lock"

    @property
    def scratch(self) -> Path:
        return self.folder / f"{self._count}.scratch"

    def log(self) -> str:
        return self.log_path.read_text()

    def kill(self, number: int) -> dict[str, Any]:
        self.warm.send({"call": "kill", "id": self.id, "signal": number})
        return self.warm.wait(lambda m: m.get("event") == "killed" and m["id"] == self.id)

    def exited(self, timeout: float = 15) -> dict[str, Any]:
        exited = self.warm.wait(
            lambda message: message.get("event") == "exited" and message["id"] == self.id, timeout
        )
        self._running.discard(self.id)
        return exited

    def end(self) -> None:
        """Leave no process behind, also where the test has failed."""
        if self.warm.process.poll() is None:
            for id in sorted(self._running):
                self.id = id
                self.kill(signal.SIGKILL)
                self.exited()

    def finish(self, timeout: float = 15) -> dict[str, Any]:
        """Wait for the end of the step and return what it reported."""
        exited = self.exited(timeout)
        assert exited["code"] == 0, (exited, self.log())
        (finish,) = self.gateway.said(contract.FINISH_PATH)
        return finish

    def run(self, script: str, params: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Run a step and return what it reported."""
        self.start(script, params, **more)
        return self.finish()


@pytest.fixture(scope="session")
def warm() -> Iterator[Child]:
    child = Child("warm")
    yield child
    child.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    # Short: the path of a Unix socket has about 100 characters.
    path = Path(tempfile.mkdtemp(prefix="step-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def gateway(folder: Path) -> Iterator[Gateway]:
    gateway = Gateway(folder)
    yield gateway
    gateway.close()


@pytest.fixture
def steps(warm: Child, gateway: Gateway, folder: Path) -> Iterator[Steps]:
    steps = Steps(warm, gateway, folder)
    yield steps
    steps.end()


@pytest.fixture(scope="session")
def evaluator() -> Iterator[Child]:
    child = Child("evaluate")
    yield child
    child.close()


@pytest.fixture
def start_child() -> Iterator[Callable[[str], Child]]:
    """Start a warm process or an evaluator that is the test's own."""
    children: list[Child] = []

    def start(room: str) -> Child:
        children.append(Child(room))
        return children[-1]

    yield start
    for child in children:
        child.close()


@pytest.fixture
def container() -> Callable[..., subprocess.Popen[str]]:
    """Start a step as a container does: with nothing but its environment."""

    def start(
        gateway: Gateway, *, secrets: str = "", secret_names: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        names = contract.Environment
        environment = {names.GATEWAY: gateway.address, names.TOKEN: gateway.token, names.STEP: "0"}
        if secrets:
            environment[names.SECRETS] = secrets
            environment[names.SECRET_NAMES] = json.dumps(list(secret_names))
        return subprocess.Popen(
            # Not -m: that would need a path, which -I ignores.
            [sys.executable, "-I", "-S", str(PACKAGE), "step", "--path", str(DEPENDENCIES)],
            env={name.value: value for name, value in environment.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.fixture
def alive() -> Callable[[int], bool]:
    def is_alive(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    return is_alive
