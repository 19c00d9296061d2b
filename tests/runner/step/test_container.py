"""A step as a container of its own: everything it knows is in its environment."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import RestrictedPython
from tests.runner.step.conftest import GARBAGE

import xaas_runner
from xaas_runner import cgroup
from xaas_runner.contract import BEGIN_PATH, FINISH_PATH, WAIT_PATH

if TYPE_CHECKING:
    from tests.runner.step.conftest import Gateway

Container = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def gateway(gateway: "Gateway") -> "Gateway":
    gateway._tcp = True
    gateway.come()
    return gateway


def test_a_step(container: Container, gateway: "Gateway", folder: Path) -> None:
    secrets = folder / "secrets"
    (secrets / "..data").mkdir(parents=True)
    (secrets / "0").write_text("s3cr3t-value\n")
    (secrets / "1").write_text("another-value")
    script = """
import asyncio
await asyncio.sleep(0)
print(secrets['key'] == 's3cr3t-value\\n', secrets['key'], sorted(secrets))
params['step'] = context.step
"""
    gateway.serve(script)
    process = container(gateway, secrets=str(secrets), secret_names=["key", "../a b/é"])
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0, out
    assert out.splitlines()[0] == "True *** ['../a b/é', 'key']"
    (finish,) = gateway.said(FINISH_PATH)
    assert finish["outcome"] == "succeeded"
    assert finish["delta"] == [{"op": "set", "path": ["step"], "value": 0}]
    assert gateway.said(BEGIN_PATH)[0]["runner"] == os.uname().nodename


def test_a_failure_is_a_record_not_an_exit_code(container: Container, gateway: "Gateway") -> None:
    gateway.serve("1 / 0")
    process = container(gateway)
    assert process.communicate(timeout=10)[0] == ""
    assert process.returncode == 0
    (finish,) = gateway.said(FINISH_PATH)
    assert finish["error"]["type"] == "ZeroDivisionError"


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_garbage_is_collected(container: Container, gateway: "Gateway") -> None:
    gateway.serve(GARBAGE)
    process = container(gateway)
    resource.prlimit(process.pid, resource.RLIMIT_AS, (400 << 20, 400 << 20))
    process.communicate(timeout=20)
    assert gateway.said(FINISH_PATH)[0]["outcome"] == "succeeded"


def test_one_that_was_started_ahead_leaves_if_its_turn_doesnt_come(gateway: "Gateway") -> None:
    early = {"answer": "wait", "reason": "its turn hasn't come", "early": True}
    gateway.serve("print('ran')")
    gateway.answers = {BEGIN_PATH: [lambda call: early], WAIT_PATH: [lambda call: early] * 99}
    environment = {"XAAS_GATEWAY": gateway.address, "XAAS_TOKEN": "token-1", "XAAS_STEP": "0"}
    done = run({**environment, "XAAS_MAX_WAIT": "0.3"}, "step")
    assert (done.returncode, done.stdout) == (0, "")
    waited = gateway.said(WAIT_PATH)
    assert waited[0]["patience_ms"] == 300, "it asks for no longer than it waits"
    assert gateway.said(FINISH_PATH) == []


def test_an_idle_one_becomes_what_it_is_told(gateway: "Gateway") -> None:
    early = {"answer": "wait", "reason": "there is no work yet", "early": True}
    assigned = {"answer": "go", "token": "of-the-attempt"}
    gateway.serve("print('ran')")
    gateway.answers = {BEGIN_PATH: [lambda call: early], WAIT_PATH: [lambda call: assigned]}
    environment = {"XAAS_GATEWAY": gateway.address, "XAAS_TOKEN": "idle", "XAAS_STEP": "0"}
    done = run(environment, "step")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert gateway.tokens == {"bearer idle", "bearer of-the-attempt"}
    first, second = gateway.said(BEGIN_PATH)
    assert first["nonce"] == second["nonce"]
    assert gateway.said(FINISH_PATH)[0]["outcome"] == "succeeded"


def test_sigterm(container: Container, gateway: "Gateway") -> None:
    gateway.serve("print('up')\nwhile True: pass")
    process = container(gateway)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == 0
    (finish,) = gateway.said(FINISH_PATH)
    assert finish["terminated"] is True


@pytest.mark.skipif(os.getuid() != 0, reason="a process that isn't dumpable shows root only")
def test_the_token_leaves_the_environment(container: Container, gateway: "Gateway") -> None:
    gateway.serve("print('up')\nwhile True: pass")
    process = container(gateway)
    assert process.stdout is not None
    process.stdout.readline()
    environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    assert b"XAAS_TOKEN" in environment
    assert b"token-1" not in environment
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)


def run(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [
            *(sys.executable, "-I", "-S", str(Path(xaas_runner.__file__).parent), *arguments),
            *("--path", str(Path(RestrictedPython.__file__).parent.parent)),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({}, "KeyError: <Environment.GATEWAY"),
        ({"XAAS_GATEWAY": "http://h:1", "XAAS_TOKEN": "t", "XAAS_STEP": "x"}, "ValueError"),
        (
            {
                "XAAS_GATEWAY": "http://h:1",
                "XAAS_TOKEN": "t",
                "XAAS_STEP": "0",
                "XAAS_SECRETS": "/no/such",
                "XAAS_SECRET_NAMES": '["a"]',
            },
            "FileNotFoundError",
        ),
    ],
)
def test_a_container_that_is_no_step(environment: dict[str, str], told: str) -> None:
    done = run(environment, "step")
    assert done.returncode == 64
    assert "this container isn't a step" in done.stderr
    assert told in done.stderr


def test_a_room_that_is_none(tmp_path: Path) -> None:
    done = run({}, "kitchen")
    assert done.returncode == 64
    assert "one of step, warm, evaluate" in done.stderr


def run_image(app: Path, gateway: "Gateway") -> "subprocess.CompletedProcess[str]":
    """Run a step as an image does that has everything in the folder `app`."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(app / "xaas_runner")],
        env={"XAAS_GATEWAY": gateway.address, "XAAS_TOKEN": "t", "XAAS_STEP": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_folder_with_everything_in_it_runs_by_itself(gateway: "Gateway", folder: Path) -> None:
    """As in the image: package and dependency side by side, no --path."""
    app = folder / "app"
    shutil.copytree(Path(xaas_runner.__file__).parent, app / "xaas_runner")
    dependency = Path(RestrictedPython.__file__).parent
    shutil.copytree(dependency, app / "RestrictedPython")
    gateway.serve("params['a'] = 1")
    done = run_image(app, gateway)
    assert done.returncode == 0, done.stderr
    assert gateway.said(FINISH_PATH)[0]["outcome"] == "succeeded"


def test_it_asks_to_begin_before_it_imports_and_an_image_that_is_broken_is_told(
    gateway: "Gateway", folder: Path
) -> None:
    app, asked = folder / "app", folder / "asked"
    shutil.copytree(Path(xaas_runner.__file__).parent, app / "xaas_runner")
    (app / "RestrictedPython.py").write_text(f"""
import os, time
until = time.monotonic() + 5
while not os.path.exists({str(asked)!r}) and time.monotonic() < until:
    time.sleep(0.01)
raise ImportError("broken" if os.path.exists({str(asked)!r}) else "nobody was asked")
""")

    def begin(call: Any) -> Any:
        asked.touch()
        return gateway.begin

    gateway.serve("pass")
    gateway.answers[BEGIN_PATH] = [begin]
    done = run_image(app, gateway)
    told = "this image can't run a step: ImportError: broken"
    assert (done.returncode, done.stderr) == (64, f"{told}\n")
    (finish,) = gateway.said(FINISH_PATH)
    assert finish["outcome"] == "failed"
    assert finish["error"] == {"type": "RunnerError", "message": told}


def test_a_stop_while_it_asks_is_reported(container: Container, gateway: "Gateway") -> None:
    started: list[subprocess.Popen[str]] = []

    def begin(call: Any) -> Any:
        while not started:
            time.sleep(0.001)
        started[0].terminate()
        time.sleep(0.1)
        return gateway.begin

    gateway.serve("print('ran')")
    gateway.answers[BEGIN_PATH] = [begin]
    started.append(container(gateway))
    out, _ = started[0].communicate(timeout=10)
    assert "ran" not in out
    (finish,) = gateway.said(FINISH_PATH)
    assert finish["error"]["type"] == "Terminated"


def test_one_that_reaches_no_gateway_says_so(container: Container, gateway: "Gateway") -> None:
    gateway.go_away()
    process = container(gateway)
    assert process.stdout is not None
    assert "WARNING the gateway is away (" in process.stdout.readline()
    process.kill()
    process.communicate(timeout=10)


def test_what_it_imports_counts_as_time_of_its_step(gateway: "Gateway", folder: Path) -> None:
    """Whoever judges the attempt's timeout counts from the begin that it has recorded."""
    app = folder / "app"
    shutil.copytree(Path(xaas_runner.__file__).parent, app / "xaas_runner")
    shutil.copytree(Path(RestrictedPython.__file__).parent, app / "RestrictedPython")
    (app / "RestrictedPython" / "_slow.py").write_text("import time; time.sleep(0.6)")
    module = app / "RestrictedPython" / "__init__.py"
    module.write_text(f"from RestrictedPython import _slow\n{module.read_text()}")
    for budget_ms, outcome in ((None, "succeeded"), (5000, "succeeded"), (500, "failed")):
        gateway.serve("import time\ntime.sleep(0.1)", budget_ms=budget_ms)
        assert run_image(app, gateway).returncode == 0
        finish = gateway.said(FINISH_PATH)[-1]
        assert finish["outcome"] == outcome
        assert finish["elapsed_ms"] >= 500
    assert finish["error"]["type"] == "Timeout"


def test_a_stop_before_it_asks_ends_it(gateway: "Gateway", folder: Path) -> None:
    """SIGTERM, held back since before its first line."""
    gateway.serve("pass")
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-S", "-c", STOPPED, str(Path(xaas_runner.__file__).parent)),
            *("step", "--path", str(Path(RestrictedPython.__file__).parent.parent)),
        ],
        env={"XAAS_GATEWAY": gateway.address, "XAAS_TOKEN": "t", "XAAS_STEP": "0"},
        check=False,
    )
    assert done.returncode == 143
    assert gateway.calls == []


STOPPED = """
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.kill(os.getpid(), signal.SIGTERM)
os.execv(sys.executable, [sys.executable, "-I", "-S", *sys.argv[1:]])
"""


def test_memory_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = open

    def in_container(path: Any, *more: Any, **named: Any) -> Any:
        return real(str(tmp_path) + path if path.startswith("/sys/") else path, *more, **named)

    monkeypatch.setattr("builtins.open", in_container)
    assert cgroup.container_memory() is None
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("20971520\n")
    (group / "memory.max").write_text("max\n")
    assert cgroup.container_memory() is None
    (group / "memory.max").write_text(f"{256 << 20}\n")
    left = cgroup.container_memory()
    assert left is not None
    assert 200 << 20 < left < 236 << 20
    (group / "memory.max").write_text("20971520\n")
    assert (cgroup.container_memory() or 0) > 0
