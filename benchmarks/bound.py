"""The bound: what the tutorial costs at the least on this machine, in this run.

Eleven forks of the warm process along the DAG, each with the sandbox, an empty script and its
answer, by a gateway that does nothing else; plus the commits that a durable run can't do without:
per task the intent, the begin and the finish, each a transaction of SQLite with `synchronous=FULL`.
"""

import asyncio
import json
import shutil
import socket
import sqlite3
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks import toy_gateway
from benchmarks.toy_gateway import Json
from benchmarks.tutorial import DAG

import xaas_runner

RUNNER = Path(xaas_runner.__file__).parent
SITE_PACKAGES = [entry for entry in sys.path if entry.endswith("site-packages")]


class Bound:
    """One warm process, one socket, one database; `run` plays the DAG once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = sqlite3.connect(folder / "bound.db", isolation_level=None)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("PRAGMA synchronous=FULL")
        self.database.execute("CREATE TABLE log (what TEXT)")
        self.left: dict[str, int] = {}
        self.done = asyncio.Event()
        self.turn = 0

    async def start(self) -> None:
        """Start the warm process and the gateway."""
        ours, theirs = socket.socketpair()
        paths = [part for entry in SITE_PACKAGES for part in ("--path", entry)]
        command = [sys.executable, "-I", "-S", str(RUNNER), "warm", "--fd", str(theirs.fileno())]
        self.process = await asyncio.create_subprocess_exec(
            *command, *paths, pass_fds=[theirs.fileno()], env={}
        )
        theirs.close()
        self.reader, self.writer = await asyncio.open_connection(sock=ours)
        await self.reader.readline()  # ready
        self.reading = asyncio.create_task(self._drain())
        self.server = await asyncio.start_unix_server(
            partial(toy_gateway.serve, answer=self._answer), self.folder / "gateway.sock"
        )

    async def _drain(self) -> None:
        while await self.reader.readline():
            pass

    async def stop(self) -> None:
        """End what was started."""
        self.reading.cancel()
        self.writer.close()
        self.server.close()
        await self.process.wait()
        self.database.close()

    async def run(self) -> float:
        """Seconds from the first intent to the last finish."""
        self.left = {ref: len(needs) for ref, needs in DAG.items()}
        self.waiting = set(DAG)
        self.done.clear()
        self.turn += 1
        started = time.perf_counter()
        self._spawn([ref for ref, count in self.left.items() if count == 0])
        await self.done.wait()
        return time.perf_counter() - started

    def _commit(self, what: str) -> None:
        self.database.execute("INSERT INTO log VALUES (?)", (what,))

    def _spawn(self, refs: list[str]) -> None:
        for ref in refs:
            self._commit(f"intent {ref}")
            name = f"{self.turn}-{ref}"
            spawn = {
                "call": "spawn",
                "id": name,
                "gateway": f"unix:{self.folder}/gateway.sock",
                "token": ref,
                "step": 0,
                "log_path": str(self.folder / f"{name}.log"),
                "lock_path": str(self.folder / f"{name}.lock"),
                "scratch": str(self.folder / f"{name}.scratch"),
                "secrets": {},
                "limits": {"memory_bytes": 512 * 1024 * 1024, "cpu_seconds": 3600},
            }
            self.writer.write(json.dumps(spawn).encode() + b"\n")

    def _answer(self, path: str, ref: str, _: Json) -> Json:
        if path.endswith("finish"):
            self._commit(f"finish {ref}")
            self.waiting.discard(ref)
            ready = []
            for other, needs in DAG.items():
                if ref in needs:
                    self.left[other] -= 1
                    if self.left[other] == 0:
                        ready.append(other)
            self._spawn(ready)
            if not self.waiting:
                self.done.set()
            return {"answer": "recorded", "next": False}
        if path.endswith("begin"):
            self._commit(f"begin {ref}")
        return toy_gateway.go(ref, "pass")


async def measure(turns: int) -> list[float]:
    """Seconds of `turns` plays of the DAG, after one to warm up."""
    folder = Path(tempfile.mkdtemp(prefix="xaas-bound-"))
    bound = Bound(folder)
    try:
        await bound.start()
        await bound.run()
        return [await bound.run() for _ in range(turns)]
    finally:
        await bound.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    times = asyncio.run(measure(10))
    print(" ".join(f"{seconds * 1000:.0f}" for seconds in times), "ms")
