"""A real server in a child process, and the command line called as a user calls it."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from xaas_cli import demo, main


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Xaas = Callable[..., Ended]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of an embedded server. The folder's path is short: sockets' paths must be."""
    with tempfile.TemporaryDirectory(prefix="xaas-") as data, demo.server(Path(data)) as address:
        yield address


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the environment that the tests run in."""
    for name in ("SERVER", "TOKEN", "TOKEN_FILE", "NAMESPACE", "DATA"):
        monkeypatch.delenv(f"XAAS_{name}", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)


@pytest.fixture
def alone(
    no_settings: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Xaas:
    """`xaas …` in this process, with no server but one that is named."""

    def call(*arguments: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["xaas", *arguments])
        with pytest.raises(SystemExit) as caught:
            main.main()
        captured = capsys.readouterr()
        code = caught.value.code
        return Ended(code if isinstance(code, int) else int(bool(code)), captured.out, captured.err)

    return call


@pytest.fixture
def xaas(alone: Xaas, server: str, monkeypatch: pytest.MonkeyPatch) -> Xaas:
    """`xaas …` with the server of these tests."""
    monkeypatch.setenv("XAAS_SERVER", server)
    return alone
