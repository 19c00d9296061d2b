"""A secret is masked wherever the text around it is cut, and in whatever pieces it comes."""

import itertools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from xaas_runner.step_log import MAX_LOG_BYTES, MAX_MESSAGE_CHARACTERS, Mask, StepLog

if TYPE_CHECKING:
    from tests.runner.step.conftest import Steps

PASSWORD = "q7!vR2-xT9#mK4"
PEM = "\n".join(["-----BEGIN KEY-----", *(f"{i:03}" * 20 for i in range(8)), "-----END KEY-----"])
EITHER = {"password": PASSWORD, "pem": PEM}


def printed(folder: Path, secrets: Iterable[str], pieces: Iterable[str]) -> str:
    """Return the log of what is printed in these pieces."""
    path = folder / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    log = StepLog(Mask(secrets), fd)
    for piece in pieces:
        log.print(piece)
    log.close()
    os.close(fd)
    return path.read_text()


def leaks(text: str) -> bool:
    """Whether five characters of a secret that stand together are in a text."""
    parts = [PASSWORD, *PEM.split("\n")[1:-1]]
    return any(part[i : i + 5] in text for part in parts for i in range(len(part) - 4))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 8192])
def test_a_secret_in_pieces(tmp_path: Path, size: int) -> None:
    text = f"a {PASSWORD} b\n{PEM}\n-----\n{PASSWORD}{PASSWORD}\nend {PEM}"
    pieces = ["".join(piece) for piece in itertools.zip_longest(*[iter(text)] * size, fillvalue="")]
    told = printed(tmp_path, EITHER.values(), pieces)
    assert told == "a *** b\n***\n-----\n******\nend ***\n"


@pytest.mark.parametrize(
    "pieces", [["x\nadmin", "123\n"], ["x\nadmin123", "\n"], ["x" * 70000 + "\nadmin", "123\n"]]
)
def test_a_secret_that_another_one_begins_with(tmp_path: Path, pieces: list[str]) -> None:
    assert printed(tmp_path, ["admin", "admin123"], pieces).endswith("x\n***\n")


def test_a_secret_that_ends_as_it_begins(tmp_path: Path) -> None:
    long = "x" * MAX_MESSAGE_CHARACTERS
    told = printed(tmp_path, ["abcde-abc"], [f"{long}abcde-abc", "y", f"{long}abc", "d-\n"])
    assert told.replace("x", "").replace("\n", "") == "***yabcd-"


def test_only_what_may_begin_a_secret_is_held_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    log = StepLog(Mask([PEM]), fd)
    log.print("one\ntwo\n-----BEGIN KEY-----\n")
    assert path.read_text() == "one\ntwo\n"
    log.print("something else\n")
    assert path.read_text() == "one\ntwo\n-----BEGIN KEY-----\nsomething else\n"
    log.print("-----BEGIN KEY-----\n")
    log.record("INFO", "a record")
    assert path.read_text().split("\n")[4] == "-----BEGIN KEY-----"
    os.close(fd)


def test_a_flood_of_secrets(tmp_path: Path) -> None:
    """Longer than a log as it is printed, but not as it is written."""
    times = MAX_LOG_BYTES // len(PASSWORD) + 5
    told = printed(tmp_path, [PASSWORD], [(PASSWORD + "\n") * times])
    assert told == "***\n" * times


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [
        "print('config line\\n' * 660 + secrets['pem'] + '\\nend')",
        "print(secrets['pem'], end='')\nprint('x' * 9000)",
        "print('x' * (73728 - 8) + secrets['password'])",
        "print('x' * 65530, end='')\nprint(secrets['password'])",
        "print(*['x' * 8185, secrets['password']] * 20)",
        "for c in secrets['pem']: print(c, end='')",
        "logger.info('x' * 5 + secrets['password'] * 20000)",
        "logger.info('x' * 65530 + secrets['pem'])",
    ],
)
def test_a_log_holds_no_part_of_a_secret(steps: "Steps", script: str) -> None:
    assert steps.run(script, secrets=EITHER)["error"] is None
    assert "***" in steps.log()
    assert not leaks(steps.log())


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [
        "raise ValueError('x' * (8192 - 3 - 9) + secrets['password'])",
        "raise ValueError(secrets['password'] * 5000)",
        "raise ValueError('x' * 8000 + secrets['pem'])",
        "raise ExceptionGroup('g', [ValueError('x' * 190 + secrets['password'])])",
        "raise ExceptionGroup('x' * 8170 + secrets['password'], [ValueError('')])",
        f"raise ValueError('{'x' * 150}'); print('{PASSWORD}')",
    ],
)
def test_an_error_holds_no_part_of_a_secret(steps: "Steps", script: str) -> None:
    error = steps.run(script, secrets=EITHER)["error"]
    assert "***" in json.dumps(error)
    assert not leaks(json.dumps(error))
    assert len(error["message"]) <= 8192


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("params['x' * 50 + secrets['password']] = {1, 2}", "params['" + "x" * 50 + "***'] is a set"),
        ("params[secrets['password']] = {'x' * 70: {1}}", "params['***']['" + "x" * 60 + "…'] is a"),
        ("params[b'x' * 50 + secrets['password'].encode()] = 1", "params has the key <bytes>, a"),
        ("params[(b'x', secrets['password'].encode())] = 1", "params has the key (b'x', b'***'), a"),
    ],
)  # fmt: skip
def test_the_name_of_a_key_holds_no_part_of_a_secret(
    steps: "Steps", script: str, told: str
) -> None:
    error: dict[str, Any] = steps.run(script, secrets=EITHER)["error"]
    assert error["message"].startswith(told)
    assert not leaks(json.dumps(error))


@pytest.mark.slow
def test_nor_does_a_refusal_that_quotes_the_script(steps: "Steps") -> None:
    error = steps.run("params._" + "hunter2hunter" * 3000, secrets={"key": "hunter2hunter"})[
        "error"
    ]
    assert error["type"] == "PolicyError"
    assert "***" in error["message"]
    assert "hunter" not in json.dumps(error)


@pytest.mark.slow
def test_nor_does_what_a_run_is_refused_for(steps: "Steps") -> None:
    script = "await PipelineRun.create('p', {'x' * 50 + secrets['password']: {1, 2}})"
    error = steps.run(script, secrets=EITHER)["error"]
    assert not leaks(json.dumps(error))
    assert "***" in error["message"]
