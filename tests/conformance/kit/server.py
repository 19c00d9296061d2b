"""The embedded product in a process of its own, for a session without `--base-url`.

The only place of the suite that knows how the product is started.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

START = 30.0
STOP = 10.0
# A secret of the server's, by name, key and value, and the variable that it comes from.
SECRET = ("conformance", "password", "Tr0ub4dor&3 of the suite")
SECRET_VARIABLE = "XAAS_SECRET_CONFORMANCE_PASSWORD"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Embedded:
    """`xaas up` on one port and one data directory; it can be ended and started again."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.base_url = f"http://127.0.0.1:{port}"
        self._log = folder / "server.log"
        self._command = [
            str(Path(sys.executable).with_name("xaas")),
            "up", "--host", "127.0.0.1", "--port", str(port), "--data", str(folder / "store"),
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {SECRET_VARIABLE: SECRET[2]},
            )
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"{self.base_url}/readyz", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.02)
        code = self._process.poll()
        raise AssertionError(
            f"the embedded server didn't get ready (exit code {code}):\n{self._log.read_text()}"
        )

    def stop(self) -> None:
        """SIGTERM: it ends in order."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """SIGKILL: it ends wherever it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def embedded(folder: Path) -> Iterator[Embedded]:
    """A server with an empty data directory, started; stopped afterwards."""
    server = Embedded(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
