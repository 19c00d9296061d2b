"""The warm process: forks one locked-down child per step, for a server on the same machine.

Started once by the embedded server, as

    <python> -I -S <folder of xaas_runner> warm --fd <number> [--path <folder>]...

with an empty environment (a child's `/proc/<pid>/environ` shows this process's) and one end of a
`socket.socketpair()` inherited as `<number>`; each `--path` is a folder to import from. It imports
everything a step may need, freezes the collector, and from then on a step costs one fork. It has
no secrets of its own: what a child needs comes with `spawn`.

Messages are JSON, one a line, in UTF-8, both ways. To the warm process:

    {"call": "spawn", "id": str, "gateway": str, "token": str, "step": int,
     "log_path": str, "lock_path": str, "scratch": str, "secrets": {name: value},
     "limits": {"memory_bytes": int|null, "cpu_seconds": int|null}}
    {"call": "kill", "id": str, "signal": int}       the step's whole session; e.g. 15, 9
    {"call": "ping", "id": str}

From the warm process (`id` repeats the call's):

    {"event": "ready", "pid": int, "protocol": 1}    first, once everything is imported
    {"event": "spawned", "id": str, "pid": int}      the lock is held from before this is sent
    {"event": "refused", "id": str|null, "error": str}   spawn or a line that can't be understood
    {"event": "killed", "id": str, "alive": bool}    alive: there was a process to send it to
    {"event": "pong", "id": str}
    {"event": "exited", "id": str, "pid": int, "code": int|null, "signal": int|null,
     "oom_hint": bool, "cpu_hint": bool, "cpu_seconds": float}

`exited` comes as soon as the process is gone. Its code is a hint only: the step's outcome is what
the gateway recorded. `oom_hint`: SIGKILL that wasn't asked for here, and the kernel has ended something
for memory meanwhile; `cpu_hint`: the CPU limit ended it. `id` is the server's name for one process; it
may be used again after `exited`.

A child's lock file is locked (`flock`, exclusive) for as long as the process lives, whoever else
has died: a server that starts finds out by trying the lock (`LOCK_EX | LOCK_NB`). Its first line
says whose it is: `<id>` from before the fork, `<id> <pid>` from the child's first moment and, when
the step has ended in order, `<id> <pid> <exit code>`. The file may be used again for another child
when this one is gone; what is left behind the first line means nothing.

The log file is appended to; its folder is made. The scratch folder is made by the child and removed
here when it is over.

When the server's end of the socket closes, the warm process ends at once and leaves its children
alone: each is a session of its own, goes on, and delivers to the server that comes next. Their
scratch folders are then that server's to remove.
"""

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
from typing import Any, Final, NamedTuple

from xaas_runner import lockdown, sandbox
from xaas_runner.contract import PROTOCOL
from xaas_runner.lines import LineSocket
from xaas_runner.nursery import Ended, Nursery, settle
from xaas_runner.sandbox.catalogue import MODULES
from xaas_runner.step import run_step
from xaas_runner.step_calls import Order

MAX_LINE_BYTES: Final = 4 * 1024 * 1024


class Spawn(NamedTuple):
    """A step to start, as the server asks for it."""

    id: str
    order: Order
    log_path: str
    lock_path: str
    scratch: str
    limits: lockdown.Limits


class _Child(NamedTuple):
    spawn: Spawn
    pid: int


class Warm:
    """Serves one server over one socket."""

    def __init__(self, server: socket.socket) -> None:
        self._nursery = Nursery()
        self._lines = LineSocket(server, MAX_LINE_BYTES)
        self._children: dict[str, _Child] = {}
        self._killed: set[str] = set()
        self._oom_kills = _oom_kills()
        self._nursery.watch(server, self._read)

    def serve(self) -> None:
        """Serve until the server is gone."""
        self._say({"event": "ready", "pid": os.getpid(), "protocol": PROTOCOL})
        self._nursery.run()

    def _say(self, message: dict[str, Any]) -> None:
        try:
            self._lines.send(json.dumps(message).encode())
        except OSError:
            self._nursery.stop()

    def _read(self) -> None:
        try:
            lines = self._lines.receive()
        except (OSError, ValueError):
            lines = None
        if lines is None:
            self._nursery.stop()
            return
        for line in lines:
            self._answer(line)

    def _answer(self, line: bytes) -> None:
        id: Any = None
        try:
            message = json.loads(line)
            id = message["id"]
            call = message["call"]
            if call == "spawn":
                self._spawn(_read_spawn(message))
            elif call == "kill":
                self._kill(id, int(message["signal"]))
            elif call == "ping":
                self._say({"event": "pong", "id": id})
            else:
                self._refuse(id, f"unknown call {call!r}")
        except (ValueError, TypeError, KeyError, OSError) as error:
            self._refuse(id, f"{type(error).__name__}: {error}")

    def _refuse(self, id: Any, text: str) -> None:
        self._say({"event": "refused", "id": id if isinstance(id, str) else None, "error": text})

    def _spawn(self, spawn: Spawn) -> None:
        if spawn.id in self._children:
            raise ValueError(f"{spawn.id!r} is running already")
        # Opened and locked before the fork: once `spawned` is said, the lock is held; and what
        # can't be opened is refused instead of a child that dies silently.
        lock = os.open(spawn.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            log = _open_log(spawn.log_path)
            try:
                _sign(lock, spawn.id)
                pid = self._nursery.fork(
                    lambda: _be_step(spawn, lock, log),
                    lambda ended: self._exited(spawn, ended),
                    keep=(lock, log),
                )
            finally:
                os.close(log)
        finally:
            os.close(lock)
        self._children[spawn.id] = _Child(spawn, pid)
        self._say({"event": "spawned", "id": spawn.id, "pid": pid})

    def _kill(self, id: str, number: int) -> None:
        child = self._children.get(id)
        if child is not None:
            self._nursery.kill(child.pid, number)
            if number == signal.SIGKILL:
                self._killed.add(id)
        self._say({"event": "killed", "id": id, "alive": child is not None})

    def _exited(self, spawn: Spawn, ended: Ended) -> None:
        del self._children[spawn.id]
        asked = spawn.id in self._killed
        self._killed.discard(spawn.id)
        limit = spawn.limits.cpu_seconds
        killed = ended.signal == signal.SIGKILL and not asked
        over_cpu = limit is not None and ended.cpu_seconds >= limit
        oom_kills = _oom_kills() if killed else self._oom_kills
        for_memory, self._oom_kills = oom_kills > self._oom_kills, oom_kills
        try:
            os.rmdir(spawn.scratch)
        except OSError:
            shutil.rmtree(spawn.scratch, ignore_errors=True)
        self._say(
            {
                "event": "exited",
                "id": spawn.id,
                "pid": ended.pid,
                "code": ended.code,
                "signal": ended.signal,
                "oom_hint": for_memory and not over_cpu,
                "cpu_hint": over_cpu and (killed or ended.signal == signal.SIGXCPU),
                "cpu_seconds": round(ended.cpu_seconds, 3),
            }
        )


def _oom_kills() -> int:
    """Processes that the kernel has ended for memory so far, in all containers of the machine; 0 where
    that isn't told."""
    try:
        with open("/proc/vmstat", "rb") as file:
            return int(file.read().partition(b"\noom_kill ")[2].split(None, 1)[0])
    except (OSError, IndexError):
        return 0


def _read_spawn(message: dict[str, Any]) -> Spawn:
    def text(name: str) -> str:
        value = message[name]
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name!r} must be a text")
        return value

    limits = message.get("limits") or {}
    memory, cpu = limits.get("memory_bytes"), limits.get("cpu_seconds")
    secrets = {str(name): str(value) for name, value in (message.get("secrets") or {}).items()}
    order = Order(text("gateway"), text("token"), int(message["step"]), secrets)
    return Spawn(
        text("id"),
        order,
        text("log_path"),
        text("lock_path"),
        text("scratch"),
        lockdown.Limits(None if memory is None else int(memory), None if cpu is None else int(cpu)),
    )


def _open_log(path: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:  # the first of its folder
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return os.open(path, flags, 0o600)


def _sign(lock: int, *parts: object) -> None:
    """Write a lock file's first line, in one go: nobody ever reads half of it."""
    os.pwrite(lock, " ".join(map(str, parts)).encode() + b"\n", 0)


def _be_step(spawn: Spawn, lock: int, log: int) -> int:
    """The child: from the fork to its exit code."""
    _sign(lock, spawn.id, os.getpid())
    nothing = os.open("/dev/null", os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(log)
    os.environ.clear()
    lockdown.prepare_resolver()
    os.umask(0o077)
    os.makedirs(spawn.scratch, mode=0o700, exist_ok=True)
    os.chdir(spawn.scratch)
    lockdown.lock_down(spawn.limits, scratch=spawn.scratch)
    code = run_step(spawn.order)
    with contextlib.suppress(OSError):
        _sign(lock, spawn.id, os.getpid(), code)
    return code


def _import_everything() -> None:
    """What a step may import later: paid once, here, instead of in each child."""
    import asyncio
    import http.client
    import importlib
    import ssl
    import urllib.parse
    import zoneinfo

    # Only to have them in sys.modules; used, so that nobody tidies them away.
    assert all((asyncio, http.client, ssl, urllib.parse, zoneinfo))
    ssl.create_default_context()
    # Modules that C code imports by itself, and a loop's parts.
    for name in ("_strptime", *MODULES):
        importlib.import_module(name)
    asyncio.new_event_loop().close()
    # What the first script of a process sets up, above all in the compiler.
    program = sandbox.compile_script("pass", allowed_imports=())
    sandbox.run(program, sandbox.scope(program, {"params": {}}, write=lambda text: None))


def main(arguments: list[str]) -> int:
    """Run a warm process; see the module's text."""
    parser = argparse.ArgumentParser(prog="xaas_runner warm")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--path", action="append", default=[])  # read by __main__
    chosen = parser.parse_args(arguments)
    os.environ.clear()
    # Ctrl-C in the server's terminal reaches this process too; the server decides when to end.
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    sys.set_int_max_str_digits(0)
    server = socket.socket(fileno=chosen.fd)
    server.set_inheritable(False)
    _import_everything()
    lockdown.prepare()
    settle()
    Warm(server).serve()
    return 0
