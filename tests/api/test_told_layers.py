"""What the server tells at its start."""

import re
import signal
import time
from pathlib import Path

from tests.api.kit.process import server_process


def test_the_layers_around_a_step_are_told(tmp_path: Path) -> None:
    with server_process(tmp_path / "data") as server:
        deadline = time.monotonic() + 20
        told: list[str] = []
        while len(told) < 4 and time.monotonic() < deadline:
            told = re.findall(r"each step's (\w+): (?:in force|not available)", server.said)
            time.sleep(0.02)
        assert sorted(told) == ["calls", "files", "itself", "limits"], server.said
        assert server.end(signal.SIGTERM) == 0
