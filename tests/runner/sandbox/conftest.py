"""A warm process for tests that run scripts which want to break out."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import xaas_runner

RunScript = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def run_script() -> Iterator[RunScript]:
    """`run_script(script, cpu=0.5, wall=2)`: run it in a child; see `zygote`."""
    source = str(Path(xaas_runner.__file__).parent.parent)
    path = os.pathsep.join([source, *(entry for entry in sys.path if entry)])
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("zygote.py"))],
        env={"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def run(script: str, *, cpu: float = 0.5, wall: float = 2) -> dict[str, Any]:
        requests.write(json.dumps({"script": script, "cpu": cpu, "wall": wall}) + "\n")
        requests.flush()
        answer: dict[str, Any] = json.loads(answers.readline())
        return answer

    with process:
        yield run
        requests.close()
