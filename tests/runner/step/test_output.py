"""Nothing but its log writes to a step's log: what else writes to 1 and 2 is lost."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import xaas_runner
from xaas_runner.contract import FINISH_PATH

pytestmark = pytest.mark.slow  # with real processes, and what they wait for

if TYPE_CHECKING:
    from tests.runner.step.conftest import Gateway, Steps

SECRET = "s3cr3t-value"
NASTY = """
import asyncio
class E(Exception):
    def __str__(self): raise asyncio.CancelledError('2026-01-01T00:00:00.000Z INFO forged ' + secrets['key'])
"""
FALLING_OVER = {
    "unraisable": NASTY + """
def g():
    try: yield
    finally: raise E()
x = g(); next(x); del x
""",
    "loop": NASTY + """
async def careless(): raise E()
asyncio.create_task(careless())
await asyncio.sleep(0.01)
""",
}  # fmt: skip
DEBUG = "import re\nfor i in range(60): re.compile(f'(?P<a{i}>' + 'd' * 20000 + ')', 128)"


@pytest.mark.parametrize("name", FALLING_OVER)
def test_a_hook_that_would_fall_over(steps: "Steps", name: str) -> None:
    finish = steps.run(FALLING_OVER[name], secrets={"key": SECRET})
    assert finish["error"] is None
    (line,) = steps.log().splitlines()
    assert re.fullmatch(r"\S+Z WARNING .*: E", line)


@pytest.fixture
def run_container(
    container: Callable[..., "subprocess.Popen[str]"], gateway: "Gateway", folder: Path
) -> Callable[[str], str]:
    def run(script: str) -> str:
        (folder / "0").write_text(SECRET)
        gateway.serve(script)
        process = container(gateway, secrets=str(folder), secret_names=["key"])
        return process.communicate(timeout=20)[0]

    return run


@pytest.mark.parametrize("name", FALLING_OVER)
def test_nor_does_a_container_s(
    run_container: Callable[[str], str], gateway: "Gateway", name: str
) -> None:
    out = run_container(f"print('first')\n{FALLING_OVER[name]}")
    first, line = out.splitlines()
    assert first == "first"
    assert re.fullmatch(r"\S+Z WARNING .*: E", line)
    assert gateway.said(FINISH_PATH)[0]["outcome"] == "succeeded"


def test_what_a_library_prints(steps: "Steps", run_container: Callable[[str], str]) -> None:
    """More than a log may hold."""
    script = f"{DEBUG}\nprint('end')"
    assert steps.run(script)["error"] is None
    assert steps.log() == "end\n"
    assert run_container(script) == "end\n"


STEP = """
import os, sys
sys.path[:0] = sys.argv[1:3]
from xaas_runner import step
from xaas_runner.contract import FINISH_PATH
from xaas_runner.step_calls import Order, StepCalls

calls = StepCalls(Order(sys.argv[3], "token-1", 0, {"key": "s3cr3t-value"}))
made = step.Step(Order(sys.argv[3], "token-1", 0, {"key": "s3cr3t-value"}), calls)
print("before", flush=True)
if sys.argv[4] == "before":
    raise ValueError("a defect of ours")
def broken(finish, *, apart=False):
    os.write(1, b"printed"); os.write(2, b"told")
    print("printed", flush=True)
    raise ValueError("a defect of ours: s3cr3t-value\\n")
calls.finish = broken
made.run()
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_defect_of_ours_is_seen(gateway: "Gateway", when: str) -> None:
    """Before the script as Python tells it; after that in the log, where no secret is."""
    gateway.serve("print('script')")
    package = Path(xaas_runner.__file__).parent.parent
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    done = subprocess.run(
        [sys.executable, "-c", STEP, str(package), dependencies, gateway.address, when],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=package,
    )
    assert done.returncode == 1
    if when == "before":
        assert "Traceback" in done.stdout
        assert done.stdout.endswith("ValueError: a defect of ours\n")
    else:
        told = r"before\nscript\n\S+Z ERROR the runner failed: ValueError: a defect of ours: \*\*\*\\n\n"
        assert re.fullmatch(told, done.stdout)
