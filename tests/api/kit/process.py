"""A server as a process of its own, to be ended in all the ways a process can end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START = 60.0


class ServerProcess:
    """`url` is where it listens; known once it is ready."""

    def __init__(self, module: str, log: Path, *arguments: str) -> None:
        self._log = log
        command = [sys.executable, "-m", module, *arguments]
        with log.open("wb") as written:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.STDOUT
            )
        self.url = ""

    @property
    def said(self) -> str:
        """What it wrote so far."""
        return self._log.read_text()

    def wait_until_ready(self) -> None:
        """Wait for the line that tells the address."""
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self.process.poll() is None:
            found = re.search(r"listens on (http://\S+)", self.said)
            if found:
                self.url = found[1]
                return
            time.sleep(0.01)
        raise AssertionError(f"the server isn't ready ({self.process.poll()}): {self.said}")

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; gives the exit code."""
        os.kill(self.process.pid, number)
        return self.process.wait(START)


def embedded_process(data: Path, log: Path, *arguments: str) -> ServerProcess:
    """The embedded server, just started."""
    return ServerProcess("xaas_api.embedded", log, "--data", str(data), *arguments)


@contextmanager
def server_process(data: Path, *arguments: str) -> Iterator[ServerProcess]:
    """An embedded server that is ready; killed at the end if it still lives."""
    number = len(list(data.parent.glob("server-*.log")))
    log = data.parent / f"server-{number}.log"
    with ready(embedded_process(data, log, "--port", "0", *arguments)) as server:
        yield server


@contextmanager
def ready(server: ServerProcess) -> Iterator[ServerProcess]:
    """A server that was just started, once it is ready; killed at the end if it still lives."""
    try:
        server.wait_until_ready()
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.process.wait()
