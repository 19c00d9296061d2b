"""A warm process that runs scripts in forked children with limits.

Reads one JSON object per line, `{"script": …, "cpu": seconds, "wall": seconds}`, and answers with
one: `{"signal": …, "escaped": …, "params": …, "error": …}`. A child that is ended by a limit has
the signal SIGPROF (processor time) or SIGKILL (wall clock).
"""

import asyncio
import json
import os
import resource
import select
import signal
import sys
from typing import Any

from xaas_runner import sandbox

MEMORY = 1024**3


class Logger:
    """Stands for the runner's logger."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.handlers = [sys.stderr]
        self.manager = sys.modules

    def info(self, message: Any, *args: Any) -> None:
        self._lines.append(str(message))


class Context:
    """Stands for the runner's context."""

    run_id = "r1"

    def hello(self) -> str:
        return "hello"


class Runner:
    """Stands for an object that answers for any public name."""

    async def load(self) -> "Runner":
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        async def task(**params: Any) -> str:
            await asyncio.sleep(0)
            return name

        return task


sandbox.expose(Logger, ["info"])
sandbox.expose(Context, ["run_id", "hello"])
sandbox.expose(Runner, ["load"], dynamic=True)


def run(script: str) -> dict[str, Any]:
    """Compile and run; what came of it."""
    answer: dict[str, Any] = {"error": None, "params": None, "escaped": False, "output": 0}
    written = 0

    def write(text: str) -> None:
        nonlocal written
        written += len(text)

    try:
        program = sandbox.compile_script(script)
    except sandbox.PolicyError as error:
        return {**answer, "error": {"type": "PolicyError", "message": str(error)}}
    objects = {"params": {}, "logger": Logger(), "context": Context(), "runner": Runner()}
    scope = sandbox.scope(program, objects, write=write)
    try:
        if program.asynchronous:
            asyncio.run(sandbox.run_async(program, scope))
        else:
            sandbox.run(program, scope)
    except BaseException as error:  # noqa: BLE001 - whatever a script raises
        return {**answer, "error": dict(sandbox.describe_error(error, program))}
    params = scope.get("params")
    answer["escaped"] = isinstance(params, dict) and params.get("escaped") is True
    try:
        answer["params"] = json.loads(json.dumps(params))
    except (TypeError, ValueError, RecursionError):
        answer["params"] = None
    return {**answer, "output": written}


def child(request: dict[str, Any], end: int) -> None:
    """The life of a child: limits, the script, the answer, the end."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, request["cpu"])
    answer = json.dumps(run(request["script"])).encode()
    if len(answer) > 1_000_000:
        answer = b"{}"
    with os.fdopen(end, "wb") as pipe:
        pipe.write(answer)


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Fork a child for one request and wait for its end, or end it."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            child(request, write)
        finally:
            os._exit(1)
    os.close(write)
    received = b""
    while True:
        ready, _, _ = select.select([read], [], [], request["wall"])
        if not ready:
            os.kill(pid, signal.SIGKILL)
        data = os.read(read, 65536)
        if not data:
            break
        received += data
    os.close(read)
    _, status = os.waitpid(pid, 0)
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    empty = {"error": None, "params": None, "escaped": False}
    return {**empty, **json.loads(received or b"{}"), "signal": ended}


def main() -> None:
    for name in ("json", "re", "enum", "dataclasses", "asyncio", "datetime", "typing", "decimal"):
        program = sandbox.compile_script(f"import {name}")
        sandbox.scope(program, {}, write=print)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
