"""The product under measurement: an embedded server in a process of its own, driven over REST."""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from benchmarks.tutorial import PIPELINE, TASK

XAAS = str(Path(sys.executable).parent / "xaas")


class Product:
    """A running server. `pid` is its process; `client` speaks to it."""

    def __init__(self, process: subprocess.Popen[bytes], client: httpx.AsyncClient) -> None:
        self.pid = process.pid
        self.client = client

    async def run(self, pipeline: str = "tutorial") -> float:
        """Seconds from the POST of a run to `complete`, as a client of /events sees it."""
        started = time.perf_counter()
        async with self.client.stream("GET", "/events", timeout=60) as events:
            answer = await self._start(pipeline)
            started = answer[1]
            async for line in events.aiter_lines():
                if line.startswith("data:"):
                    content = json.loads(line[5:])
                    status = content["content"].get("status")
                    ours = content["content"]["instance_id"] == answer[0]
                    if ours and status in ("complete", "cancelled"):
                        if status != "complete":
                            raise RuntimeError(f"the run ended as {status}")
                        return time.perf_counter() - started
        raise RuntimeError("the stream of events ended early")

    async def _start(self, pipeline: str) -> tuple[str, float]:
        started = time.perf_counter()
        body = {"name": pipeline, "parameters": {}, "run": True}
        answer = await self.client.post("/pipelineruns", json=body)
        answer.raise_for_status()
        return str(answer.json()["instance_id"]), started

    async def many(self, count: int, pipeline: str = "tutorial") -> float:
        """Seconds until `count` runs, started at once, are all complete."""
        started = time.perf_counter()
        found = await asyncio.gather(*(self._start(pipeline) for _ in range(count)))
        waiting = {uid for uid, _ in found}
        while waiting:
            for uid in list(waiting):
                run = (await self.client.get(f"/pipelineruns/{uid}")).json()
                if run["status"] == "complete":
                    waiting.discard(uid)
                elif run["status"] != "processing":
                    raise RuntimeError(f"the run ended as {run['status']}")
                else:
                    break
            await asyncio.sleep(0.05)  # seldom: looking costs the server, too
        return time.perf_counter() - started

    def memory(self) -> float:
        """MB that the server process holds (resident set)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def cpu(self) -> float:
        """Seconds of CPU that the server process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


@contextlib.asynccontextmanager
async def product() -> AsyncIterator[Product]:
    """A fresh server with the tutorial's definitions, on a free port, with a data folder of its own."""
    data = Path(tempfile.mkdtemp(prefix="xaas-bench-"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [XAAS, "up", "--port", str(port), "--data", str(data)]
    process = _launch(command, data / "server.log")
    try:
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as client:
            await _ready(client, process)
            (await client.post("/pipelinetasks", json=TASK)).raise_for_status()
            (await client.post("/pipelines", json=PIPELINE)).raise_for_status()
            yield Product(process, client)
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(data, ignore_errors=True)


def _launch(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)


async def _ready(client: httpx.AsyncClient, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with contextlib.suppress(httpx.TransportError):
            if (await client.get("/readyz")).status_code == 200:
                return
        if process.poll() is not None:
            break
        await asyncio.sleep(0.05)
    raise RuntimeError("the server didn't start")
