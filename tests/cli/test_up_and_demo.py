"""`xaas up` and `xaas demo`, as processes of their own."""

import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xaas_cli import demo, examples, serving
from xaas_cli.failures import Failure

pytestmark = pytest.mark.e2e


def xaas(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xaas_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_demo_ends_well_without_a_terminal(tmp_path: Path) -> None:
    ended = xaas("demo")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    first, second = re.findall(r"\d  (. run  tutorial  (?:complete|cancelled).*)", ended.stdout)
    assert first == "✔ run  tutorial  complete"
    assert second.startswith("↩ run  tutorial  cancelled")
    order = re.search(r"Undone, in order:\n +([\d ]+)\n", ended.stdout)
    assert order is not None
    refs = order[1].split()
    assert refs[0] == "10"
    assert set(refs[1:8]) == set("3456789")
    assert refs[-2:] == ["2", "1"]
    assert "/docs" in ended.stdout
    assert "examples/tutorial" in ended.stdout


def test_the_demo_says_what_did_not_end_as_it_should(
    alone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "FAIL_AT", "none of them")
    ended = alone("demo")
    assert ended.code == 1
    assert "The demo didn't end as it should" in ended.err
    assert "the run should be cancelled, and is complete" in ended.err


def test_up_says_why_it_does_not_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = xaas("up", "--port", str(port), "--data", str(tmp_path / "d"))
    assert ended.returncode == 1
    assert f"port {port} of 127.0.0.1 is taken" in ended.stderr
    outside = xaas("up", "--host", "0.0.0.0", "--port", "0", "--data", str(tmp_path / "d"))
    assert outside.returncode == 1
    assert "--token-file" in outside.stderr


def test_a_server_that_does_not_start_is_told_with_what_it_said(tmp_path: Path) -> None:
    with (
        pytest.raises(Failure, match=r"(?s)didn't start. It said:.*token file"),
        demo.server(tmp_path, "--token-file", "/nowhere/token"),
    ):
        pass


def test_a_server_with_a_token(alone: Callable[..., Any], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-that-nobody-guesses\n")
    token.chmod(0o600)
    with demo.server(tmp_path, "--token-file", str(token)) as address:
        refused = alone("get", "tasks", "--server", address)
        assert refused.code == 1
        assert "token" in refused.err
        wrong = alone("get", "tasks", "--server", address, "--token", "another")
        assert wrong.code == 1
        for given in (["--token-file", str(token)], ["--token", "a-token-that-nobody-guesses"]):
            assert alone("get", "tasks", "--server", address, *given).code == 0


def test_without_the_servers_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serving, "EMBEDDED", "no-such-server")
    with pytest.raises(Failure, match=r"pip install 'xaas-pipeline\[server\]'"):
        serving.embedded()


def test_an_example_that_is_not_there() -> None:
    assert examples.example("tutorial").is_dir()
    with pytest.raises(Failure, match="The example 'nonsense' isn't there"):
        examples.example("nonsense")


def test_a_watch_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    file = tmp_path / "slow.yaml"
    file.write_text(
        "{category: x, name: slow, steps: [{doScript: await asyncio.sleep(1)}]}\n---\n"
        "{category: x, name: slow, tasks: [{ref: a, name: slow}, {ref: b, name: slow, dependsOn: [a]}]}"
    )
    with tempfile.TemporaryDirectory(prefix="xaas-") as data:
        with demo.server(Path(data)) as address:
            assert xaas("apply", "-f", str(file), "--server", address).returncode == 0
            watching = subprocess.Popen(
                [sys.executable, "-m", "xaas_cli", "run", "slow", "--watch", "--server", address],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert watching.stdout is not None
            lines = iter(watching.stdout.readline, "")
            next(line for line in lines if "running" in line)
        with watching, demo.server(Path(data), "--port", address.rpartition(":")[2]):
            assert watching.wait(30) == 0
            assert "The run is ✔ complete" in watching.stdout.read()
