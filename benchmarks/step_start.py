"""How long a step takes to its first line: a process as a step's container starts it, on this machine.

From the start of the process: interpreter, sandbox, lockdown, the script from a gateway that does nothing
else. What a container runtime adds before it isn't in it.
"""

import asyncio
import json
import statistics
import sys
import time
from typing import Any

from benchmarks.bound import RUNNER, SITE_PACKAGES

from xaas_runner.contract import BEGIN_PATH, FINISH_PATH, Environment

SCRIPT = "import time\nparams['at'] = time.time()"

CONTEXT = {
    "run_id": "start",
    "pipeline": "start",
    "ref": "a",
    "task": "a",
    "process_type": "do",
    "step": 0,
    "attempt": 1,
    "namespace": "default",
}
BEGIN: dict[str, Any] = {
    "answer": "go",
    "script": SCRIPT,
    "params": {},
    "context": CONTEXT,
    "allowed_imports": [],
    "budget_ms": None,
}


async def measure(turns: int) -> float:
    """Median seconds from the start of a step's process to its script's first line."""
    first_lines: asyncio.Queue[float] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
            said = json.loads(await reader.readexactly(int(fields["content-length"])))
            path = head[0].split(" ")[1]
            answer: dict[str, Any] = {"answer": "recorded"}
            if path == BEGIN_PATH:
                answer = BEGIN
            elif path == FINISH_PATH:
                first_lines.put_nowait(said["delta"][0]["value"])
            body = json.dumps(answer).encode()
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    told = {Environment.GATEWAY: f"http://127.0.0.1:{port}", Environment.TOKEN: "t"}
    environment = {str(name): value for name, value in {**told, Environment.STEP: "0"}.items()}
    paths = [part for entry in SITE_PACKAGES for part in ("--path", entry)]
    taken = []
    async with server:
        for _ in range(turns + 1):
            started = time.time()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(RUNNER), "step", *paths), env=environment
            )
            taken.append(await first_lines.get() - started)
            await process.wait()
    return statistics.median(taken[1:])  # the first of all finds nothing in any cache


async def _head(reader: asyncio.StreamReader) -> list[str]:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    except asyncio.IncompleteReadError:
        return []
