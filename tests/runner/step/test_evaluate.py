"""The evaluator, over an inherited socket and over a listening one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import RestrictedPython

import xaas_runner
from xaas_runner.evaluate import Evaluator, _Client

pytestmark = pytest.mark.slow  # with real processes, and what they wait for

if TYPE_CHECKING:
    from tests.runner.step.conftest import Child

OBJECTS = {"params": {"vendor": "cisco", "ports": [1, 2, 3], "big": 10**500}, "tasks": {"a": "x"}}


def evaluate(evaluator: "Child", source: str, **more: Any) -> dict[str, Any]:
    message = {"id": source, "call": "evaluate", "source": source, "objects": OBJECTS} | more
    answer = evaluator.answer(message)
    assert answer.pop("id") == source
    return answer


def check(evaluator: "Child", *scripts: tuple[str, str]) -> list[Any]:
    listed = [{"source": source, "kind": kind} for kind, source in scripts]
    answer = evaluator.answer({"id": 7, "call": "check", "scripts": listed}, timeout=60)
    results: list[Any] = answer["results"]
    assert len(results) == len(scripts)
    return results


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("params['vendor'] == 'cisco' and len(params['ports']) > 2", True),
        ("params['vendor'] == 'x'", False),
        ("params['ports']", True),
        ("[]", False),
        ("0.0", False),
        ("None", False),
        ("tasks['a'] == 'x'", True),
        ("params['big'] == 10 ** 500", True),
        ("if params['vendor'] == 'cisco':\n    return 'yes'\nreturn ''", True),
        ("params.clear() or len(params) == 0", True),
        ("print('unseen') is None", True),
    ],
)
def test_values(evaluator: "Child", source: str, value: bool) -> None:
    assert evaluate(evaluator, source) == {"value": value, "error": None}


@pytest.mark.parametrize(
    ("source", "kind", "message", "line"),
    [
        ("params['gone']", "KeyError", "'gone'", 1),
        ("x = 1\nreturn x / 0", "ZeroDivisionError", "division by zero", 2),
        ("class A:\n    def __bool__(self): raise ValueError('no')\nreturn A()", "Error", "", None),
        ("await x", "PolicyError", "await", 1),
        ("import os\nreturn 1", "PolicyError", "os", 1),
        ("1 +", "PolicyError", "", 1),
        ("open('/etc/passwd')", "", "open", 1),
        ("raise SystemExit(0)\nreturn 1", "", "", 1),
    ],
)
def test_errors(evaluator: "Child", source: str, kind: str, message: str, line: int | None) -> None:
    answer = evaluate(evaluator, source)
    assert answer["value"] is None
    assert kind in answer["error"]["type"]
    assert message in answer["error"]["message"]
    assert line is None or answer["error"]["line"] == line


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("sum(range(10 ** 12))", "CpuLimit", "the condition used more than 1 s of CPU time"),
        ("while True: pass\nreturn 1", "CpuLimit", "the condition used more than 1 s of CPU time"),
        ("9 ** 9 ** 9", "CpuLimit", "the condition used more than 1 s of CPU time"),
        ("'a' * 10 ** 10", "MemoryError", "the condition used more than 64 MiB of memory"),
        ("[0] * 10 ** 8", "MemoryError", "the condition used more than 64 MiB of memory"),
        ("import time\ntime.sleep(60)\nreturn 1", "Timeout", "the condition took longer than 2 s"),
    ],
)
def test_limits(evaluator: "Child", source: str, kind: str, message: str) -> None:
    error = evaluate(evaluator, source)["error"]
    assert (error["type"], error["message"]) == (kind, message)
    assert evaluate(evaluator, "1")["value"] is True


def test_a_busy_machine_takes_nobodys_time(evaluator: "Child") -> None:
    """More endless conditions than cores: each has its second of CPU time, however long it takes."""
    count = 2 * (os.cpu_count() or 1) + 1
    for number in range(count):
        source = "while True: pass\nreturn 1"
        evaluator.send({"id": number, "call": "evaluate", "source": source, "objects": OBJECTS})
    for number in range(count):
        answer = evaluator.wait(lambda message, number=number: message.get("id") == number, 60)  # type: ignore[misc]
        assert answer["error"]["type"] == "CpuLimit"


def test_evaluations_do_not_see_each_other(evaluator: "Child") -> None:
    evaluate(evaluator, "params.clear()")
    evaluate(evaluator, "import json\njson.x = 1\nreturn 1")
    assert evaluate(evaluator, "len(params) == 3")["value"] is True
    assert evaluate(evaluator, "import json\nreturn hasattr(json, 'x')")["value"] is False


LOUD = """\
def g():
    try:
        yield
    finally:
        raise ValueError('FORGED')
for _ in range(3):
    x = g()
    next(x)
    del x
return True
"""


def test_nothing_is_said_beside_the_answer(
    start_child: "Callable[[str], Child]", capfd: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(start_child("evaluate"), LOUD)["value"] is True
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


def test_many_at_once_in_any_order(evaluator: "Child") -> None:
    """More than may run at once, the slow ones first."""
    for number in range(20):
        source = f"sum(range({10**7 if number < 4 else 10})) + {number} == -1 or {number % 2}"
        evaluator.send({"id": number, "call": "evaluate", "source": source, "objects": OBJECTS})
    answers = [evaluator.wait(lambda m, n=n: m.get("id") == n) for n in range(20)]  # type: ignore[misc]
    assert [answer["value"] for answer in answers] == [bool(n % 2) for n in range(20)]


def test_scripts_are_checked(evaluator: "Child") -> None:
    results = check(
        evaluator,
        ("script", "await x()\nreturn 5"),
        ("script", "a = 1\nimport os"),
        ("condition", "params['a'] > 1"),
        ("condition", "await x"),
        ("script", "x = ("),
        ("script", "def f(_a): pass"),
        ("script", ""),
    )
    assert [result and result["line"] for result in results] == [None, 2, None, 1, 1, 1, None]
    assert [result is None for result in results] == [True, False, True, False, False, False, True]
    assert "os" in results[1]["reason"]


def test_no_scripts_at_all(evaluator: "Child") -> None:
    assert check(evaluator) == []


def test_allowed_imports_count(evaluator: "Child") -> None:
    script = {"source": "import csv", "kind": "script"}
    listed = [script, {**script, "allowed_imports": ["csv"]}]
    answer = evaluator.answer({"id": 1, "call": "check", "scripts": listed})
    assert [result is None for result in answer["results"]] == [False, True]
    told = evaluate(evaluator, "import csv\nreturn csv is not None", allowed_imports=["csv"])
    assert told == {"value": True, "error": None}


def test_a_script_that_brings_the_compiler_down_gets_the_blame_alone(evaluator: "Child") -> None:
    bombs = [
        "x = " + "1+" * 100_000 + "1",
        "x = " + "(" * 5000 + ")" * 5000,
        "x = " + "-" * 200_000 + "1",
        "x = " + "[" * 90 + "]" * 90,
        "if 1: " + "lambda: " * 50_000 + "1",
        "\n".join(" " * n + "if 1:" for n in range(200)),
        "x = '" + "a" * 2_000_000 + "'",
        "a" + ".a" * 100_000,
        "x = 'a' * 4000 * 4000 * 4000",
        "\x00",
    ]
    scripts = [("script", "ok = 1"), *(("script", bomb) for bomb in bombs), ("script", "ok = 2")]
    results = check(evaluator, *scripts)
    assert results[0] is None
    assert results[-1] is None
    for bomb, result in zip(bombs, results[1:-1], strict=True):
        if result is not None:
            assert result["reason"], bomb[:40]
    assert sum(result is not None for result in results) >= 6
    assert evaluate(evaluator, "1")["value"] is True


def test_a_child_that_dies_in_a_check_is_told(start_child: Callable[[str], "Child"]) -> None:
    """One long compilation, killed from outside: the rest of the batch goes on."""
    child = start_child("evaluate")
    slow = "\n".join(f"x{n} = [i for i in range({n})]" for n in range(12_000))
    scripts = [{"source": source, "kind": "script"} for source in ("a = 1", slow, "b = (", "c = 1")]
    child.send({"id": 1, "call": "check", "scripts": scripts})
    children = Path(f"/proc/{child.process.pid}/task/{child.process.pid}/children")
    if not children.exists():
        pytest.skip("needs /proc")
    until(children.read_text)
    time.sleep(0.3)
    os.kill(int(children.read_text()), signal.SIGSEGV)
    results = child.wait(lambda message: message.get("id") == 1, 60)["results"]
    assert results[0] is None
    assert "crashed the interpreter (signal 11" in results[1]["reason"]
    assert results[2]["line"] == 1
    assert results[3] is None


@pytest.mark.parametrize(
    "message",
    [
        {"id": 3, "call": "check", "scripts": [{"source": "1"}]},
        {"id": 3, "call": "check", "scripts": [{"source": "1", "kind": "poem"}]},
        {"id": 3, "call": "check", "scripts": [5]},
        {"id": 3, "call": "evaluate", "source": 5, "objects": {}},
        {"id": 3, "call": "evaluate", "source": "1"},
        {"id": 3, "call": "fly"},
        {"id": 3},
    ],
)
def test_what_cannot_be_understood_is_refused(evaluator: "Child", message: dict[str, Any]) -> None:
    assert "refused" in evaluator.answer(message)
    assert evaluator.answer({"id": 4, "call": "ping"}) == {"id": 4, "pong": True}


@pytest.mark.parametrize("line", ["{", "5", "null", "[" * 100_000, '{"id": ' + "1" * 150_000 + "}"])
def test_a_line_that_is_no_request(start_child: Callable[[str], "Child"], line: str) -> None:
    child = start_child("evaluate")
    child.ours.sendall(line.encode() + b"\n")
    assert "refused" in child.wait(lambda message: message.get("id", 0) is None)
    assert child.answer({"id": 4, "call": "ping"}) == {"id": 4, "pong": True}


def test_it_ends_with_its_server(start_child: Callable[[str], "Child"]) -> None:
    child = start_child("evaluate")
    child.send({"id": 1, "call": "evaluate", "source": "sum(range(10 ** 12))", "objects": OBJECTS})
    child.hang_up()
    assert child.process.wait(5) == 0


def test_it_ends_on_sigterm(start_child: Callable[[str], "Child"]) -> None:
    child = start_child("evaluate")
    child.process.terminate()
    assert child.process.wait(5) == 0


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_listening_socket_serves_several(folder: Path) -> None:
    path = folder / "evaluator.sock"
    path.write_text("stale")
    command = [sys.executable, "-I", "-S", str(Path(xaas_runner.__file__).parent), "evaluate"]
    command += ["--socket", str(path), "--path", str(Path(RestrictedPython.__file__).parent.parent)]
    process = subprocess.Popen(command, env={})
    clients: list[tuple[int, socket.socket, Any]] = []
    try:
        until(lambda: path.is_socket() and is_listening(path))
        for number in range(3):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(path))
            clients.append((number, client, client.makefile("rb")))
        for number, client, lines in clients:
            assert json.loads(lines.readline()) == {"event": "ready", "protocol": 1}
            request = {"id": number, "call": "evaluate", "source": "1", "objects": OBJECTS}
            client.sendall(json.dumps(request).encode() + b"\n")
        for number, _, lines in reversed(clients):
            answer = json.loads(lines.readline())
            assert answer == {"id": number, "value": True, "error": None}
    finally:
        for _, client, lines in clients:
            lines.close()
            client.close()
        process.terminate()
        assert process.wait(5) == 0


class FullMachine:
    """A nursery on a machine that has no room for a process, and where time flies."""

    def fork(self, *_: Any, **__: Any) -> int:
        raise BlockingIOError("no room")

    def after(self, _: float, call: Callable[[], None]) -> int:
        call()
        return 0


def test_no_process_to_be_had_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the machine's fault and may pass: neither a script nor a condition is to blame."""
    monkeypatch.setattr("xaas_runner.evaluate.Nursery", FullMachine)
    served = Evaluator()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for call in (
            {"call": "check", "scripts": [{"source": "1", "kind": "script"}]},
            {"call": "evaluate", "source": "1", "objects": {}},
        ):
            served._answer(_Client(theirs), json.dumps({"id": 1, **call}).encode())
        answers = [json.loads(line) for line in ours.recv(65536).splitlines()]
    assert answers == [{"id": 1, "unavailable": "no process can be made: no room"}] * 2
