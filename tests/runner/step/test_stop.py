"""SIGTERM, the attempt's timeout, the CPU limit: how a script is stopped from outside."""

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from xaas_runner import contract
from xaas_runner.stopping import Cause, Stopped, Stopper

pytestmark = pytest.mark.slow  # with real processes, and what they wait for

if TYPE_CHECKING:
    from tests.runner.step.conftest import Gateway, Steps

SYNC = "params['edit'] = 1\nprint('up')\nwhile True: pass"
ASYNC = "import asyncio\nparams['edit'] = 1\nprint('up')\nawait asyncio.sleep(60)"
SYNC_SWALLOWING = """
print('up')
while True:
    try:
        while True: pass
    except:
        params['swallowed'] = True
"""
ASYNC_SWALLOWING = """
import asyncio
print('up')
while True:
    try:
        await asyncio.sleep(60)
    except:
        pass
"""
ASYNC_BUSY = "import asyncio\nawait asyncio.sleep(0)\nprint('up')\nwhile True: pass"
ENDS_WELL_WHEN_ASKED = """
import asyncio
print('up')
try:
    await asyncio.sleep(60)
except asyncio.CancelledError:
    params['edit'] = 1
"""
RAISES_WHEN_ASKED = """
print('up')
try:
    while True: pass
finally:
    params['edit'] = 1
    raise ValueError('mine')
"""


def wait_for_line(steps: "Steps") -> None:
    deadline = time.monotonic() + 10
    while not (steps.log_path.exists() and "up" in steps.log()):
        assert time.monotonic() < deadline, "the script doesn't start"
        time.sleep(0.005)


def stopped(finish: dict[str, Any], kind: str) -> None:
    assert finish["outcome"] == "failed"
    assert finish["terminated"] is True
    assert finish["delta"] == []
    assert finish["error"]["type"] == kind


@pytest.mark.parametrize(
    "script", [SYNC, ASYNC, ENDS_WELL_WHEN_ASKED, RAISES_WHEN_ASKED], ids=range(4)
)
def test_sigterm_stops_the_script_and_is_reported(steps: "Steps", script: str) -> None:
    steps.start(script)
    wait_for_line(steps)
    assert steps.kill(signal.SIGTERM)["alive"] is True
    stopped(steps.finish(), "Terminated")


@pytest.mark.parametrize("script", [SYNC_SWALLOWING, ASYNC_SWALLOWING, ASYNC_BUSY], ids=range(3))
def test_a_script_that_swallows_it_is_cut_off(steps: "Steps", script: str) -> None:
    steps.start(script)
    wait_for_line(steps)
    steps.kill(signal.SIGTERM)
    steps.kill(signal.SIGTERM)
    stopped(steps.finish(), "Terminated")


@pytest.mark.parametrize("script", [SYNC, ASYNC, SYNC_SWALLOWING, ASYNC_SWALLOWING], ids=range(4))
def test_the_timeout_stops_the_script(steps: "Steps", script: str) -> None:
    finish = steps.run(script, budget_ms=100)
    stopped(finish, "Timeout")
    assert finish["elapsed_ms"] >= 100


def test_no_time_left_at_all(steps: "Steps") -> None:
    stopped(steps.run(SYNC, budget_ms=0), "Timeout")


def test_a_script_that_ends_in_time_is_left_alone(steps: "Steps") -> None:
    finish = steps.run("params['a'] = 1", budget_ms=10_000)
    assert finish["outcome"] == "succeeded"
    assert finish["terminated"] is False


def test_the_cpu_limit_stops_the_script(steps: "Steps") -> None:
    steps.start(SYNC, limits={"memory_bytes": None, "cpu_seconds": 1})
    stopped(steps.finish(), "CpuLimit")


def test_sigterm_while_waiting_ends_the_process_without_a_begin(
    steps: "Steps", gateway: "Gateway"
) -> None:
    def hold(message: dict[str, Any]) -> dict[str, str]:
        assert message["patience_ms"] >= 1000
        time.sleep(0.5)
        return {"answer": "go"}

    gateway.answers[contract.BEGIN_PATH] = [lambda message: {"answer": "wait"}]
    gateway.answers[contract.WAIT_PATH] = [hold]
    steps.start("print('ran')")
    gateway.wait_for(contract.WAIT_PATH)
    steps.kill(signal.SIGTERM)
    assert steps.exited()["code"] == 143
    assert len(gateway.said(contract.BEGIN_PATH)) == 1
    assert steps.log() == ""


def test_sigterm_during_a_begin_that_is_told_to_wait_ends_the_process(
    steps: "Steps", gateway: "Gateway"
) -> None:
    def begin(message: dict[str, Any]) -> dict[str, Any]:
        os.kill(steps.running_pid(), signal.SIGTERM)
        time.sleep(0.1)
        return {"answer": "wait"}

    gateway.answers[contract.BEGIN_PATH] = [begin]
    steps.start("print('ran')")
    assert steps.exited()["code"] == 143
    assert [path for path, _ in gateway.calls] == [contract.BEGIN_PATH]


def test_sigterm_during_begin_is_reported_and_the_script_does_not_run(
    steps: "Steps", gateway: "Gateway"
) -> None:
    def begin(message: dict[str, Any]) -> dict[str, Any]:
        os.kill(steps.running_pid(), signal.SIGTERM)
        time.sleep(0.1)
        return gateway.begin

    gateway.answers[contract.BEGIN_PATH] = [begin]
    steps.start("print('ran')")
    stopped(steps.finish(), "Terminated")
    assert "ran" not in steps.log()


def test_sigterm_right_after_the_fork(steps: "Steps", gateway: "Gateway") -> None:
    """Whenever it comes: either nothing has begun, or it is reported."""
    for _ in range(20):
        steps.start(SYNC)
        steps.kill(signal.SIGTERM)
        exited = steps.exited()
        if exited["code"] == 143:
            assert gateway.said(contract.BEGIN_PATH) == []
        else:
            assert exited["code"] == 0
            (finish,) = gateway.said(contract.FINISH_PATH)
            stopped(finish, "Terminated")


def test_a_script_that_had_ended_is_delivered_in_spite_of_sigterm(
    steps: "Steps", gateway: "Gateway"
) -> None:
    def away(message: dict[str, Any]) -> None:
        os.kill(steps.running_pid(), signal.SIGTERM)

    gateway.answers[contract.FINISH_PATH] = [away, away]
    steps.start("params['a'] = 1")
    assert steps.exited()["code"] == 0
    reports = gateway.said(contract.FINISH_PATH)
    assert len(reports) == 3
    assert all(report == reports[0] for report in reports)
    assert reports[0]["outcome"] == "succeeded"
    assert reports[0]["delta"] == [{"op": "set", "path": ["a"], "value": 1}]


def test_a_timeout_while_the_result_is_offered_changes_nothing(
    steps: "Steps", gateway: "Gateway"
) -> None:
    gateway.answers[contract.FINISH_PATH] = [lambda message: time.sleep(0.3)]
    steps.start("params['a'] = 1", budget_ms=200)
    assert steps.exited()["code"] == 0
    first, second = gateway.said(contract.FINISH_PATH)
    assert first == second
    assert first["outcome"] == "succeeded"


def test_stuck_in_one_long_call_it_is_killed_from_outside(
    steps: "Steps", gateway: "Gateway"
) -> None:
    steps.start("print('up')\nsum(range(10 ** 12))")
    wait_for_line(steps)
    steps.kill(signal.SIGTERM)
    steps.kill(signal.SIGKILL)
    exited = steps.exited()
    assert exited["signal"] == signal.SIGKILL
    assert exited["oom_hint"] is False
    assert gateway.said(contract.FINISH_PATH) == []


SLOW_TEXT = """
import time
params['edit'] = 1
class E(Exception):
    def __str__(self):
        params['late'] = 1
        try: time.sleep(1000)
        finally: print('asked to end')
raise E()
"""
ASYNC_SLOW_TEXT = f"import asyncio\nawait asyncio.sleep(0)\n{SLOW_TEXT}"
STUBBORN_TEXT = """
params['edit'] = 1
class E(Exception):
    def __str__(self):
        params['late'] = 1
        while True:
            try:
                while True: pass
            except: pass
raise E()
"""
SLOW_TEXTS = """
import time
params['edit'] = 1
class E(Exception):
    def __str__(self):
        params['late'] = 1
        time.sleep(1000)
raise ExceptionGroup('', [E(), E(), E()])
"""
TEXT_WITH_A_SLOW_END = """
import time
params['edit'] = 1
def g():
    try: yield
    finally: time.sleep(1000)
class E(Exception):
    def __str__(self):
        params['late'] = 1
        held = g(); next(held)
        time.sleep(1000)
raise E()
"""


@pytest.mark.parametrize(
    "script",
    [SLOW_TEXT, ASYNC_SLOW_TEXT, STUBBORN_TEXT, SLOW_TEXTS, TEXT_WITH_A_SLOW_END],
    ids=range(5),
)
def test_an_error_whose_text_takes_too_long(steps: "Steps", script: str) -> None:
    """The script has failed, in time: its edits count, and the error goes without its text."""
    since = time.monotonic()
    finish = steps.run(script, budget_ms=300)
    assert time.monotonic() - since < 5
    assert steps.log() == ("asked to end\n" if "asked" in script else "")
    assert finish["outcome"] == "failed"
    assert finish["terminated"] is False
    assert finish["delta"] == [{"op": "set", "path": ["edit"], "value": 1}]
    error = finish["error"]
    assert error["type"] in ("E", "ExceptionGroup")
    assert error["traceback"][-1].split(": ", 1)[1].startswith("raise E")
    assert "(its message can't be shown)" in error["message"] or error["message"].count("E: ") == 3


def test_sigterm_while_an_error_tells_its_text(steps: "Steps") -> None:
    steps.start(SLOW_TEXT.replace("params['late'] = 1", "print('up')"))
    wait_for_line(steps)
    steps.kill(signal.SIGTERM)
    finish = steps.finish()
    assert finish["error"]["type"] == "E"
    assert finish["delta"] == [{"op": "set", "path": ["edit"], "value": 1}]
    assert finish["terminated"] is False


def test_a_stop_between_the_end_of_a_script_and_its_error_s_text() -> None:
    def never(cause: Cause) -> None:
        pytest.fail("nothing runs that would have to be cut off")

    stopper, ran = Stopper(), []
    assert stopper.oversee(lambda: ran.append("script"), None, never) == (None, None)
    stopper._on_term(signal.SIGTERM, None)
    raised, cause = stopper.oversee(lambda: ran.append("text"), None, never)
    assert isinstance(raised, Stopped)
    assert cause is Cause.TERMINATED
    assert ran == ["script"]


HELD = """
import time
def g():
    try: yield
    finally:
        print('late')
        time.sleep(1000)
def start():
    made = g()
    next(made)
    return made
"""


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("held = start()\nparams['edit'] = 1", None),
        ("held = [start()]\nheld.append(held)\ndel held\nparams['edit'] = 1", None),
        ("params['edit'] = 1\nreturn start()", "Timeout"),
        ("import asyncio\nparams['edit'] = 1\nawait asyncio.sleep(0)\nreturn start()", None),
        ("def f():\n    held = start()\n    1 / 0\nparams['edit'] = 1\nf()", "Timeout"),
        ("held = start()\nparams['edit'] = 1\n1 / 0", "ZeroDivisionError"),
        ("params['edit'] = 1\nraise ValueError(start())", "ValueError"),
    ],
    ids=range(7),
)
def test_what_a_script_leaves_open_is_closed_in_its_time_or_not_at_all(
    steps: "Steps", script: str, kind: str | None
) -> None:
    """A generator's `finally` is code of the script's: none runs when its time is over."""
    since = time.monotonic()
    enough_for_the_collector = {"lists": [[i] for i in range(5000)]}
    finish = steps.run(HELD + script, enough_for_the_collector, budget_ms=500)
    assert time.monotonic() - since < 5
    if kind == "Timeout":
        stopped(finish, kind)
        return
    assert (finish["error"] or {"type": None})["type"] == kind
    assert finish["delta"] == [{"op": "set", "path": ["edit"], "value": 1}]
    assert "late" not in steps.log()


def test_what_an_error_leaves_open_is_closed_and_counts(steps: "Steps") -> None:
    script = """
def ports():
    try: yield 1
    finally: params['closed'] = True
for port in ports():
    params['opened'] = port
    raise ValueError('in between')
"""
    finish = steps.run(f"def body():{script.replace(chr(10), chr(10) + '    ')}\nbody()")
    assert finish["error"]["message"] == "in between"
    assert finish["error"]["traceback"][0] == "line 9: body()"
    assert {op["path"][0] for op in finish["delta"]} == {"opened", "closed"}


SLOW_KEY = """
import time
from collections import OrderedDict
from enum import StrEnum
class Key(StrEnum):
    A = 'a'
    def __hash__(self):
        if slow: time.sleep(1000)
        return 1
slow = False
params['edit'] = OrderedDict([(Key.A, 1)])
slow = True
"""


@pytest.mark.parametrize("end", ["", "\n1 / 0"])
def test_params_that_take_too_long_to_read(steps: "Steps", end: str) -> None:
    stopped(steps.run(SLOW_KEY + end, budget_ms=300), "Timeout")


@pytest.mark.parametrize(
    "trouble", ["raise ValueError('x')", "held = start(); raise ValueError('x')"]
)
def test_params_that_cannot_be_read(steps: "Steps", trouble: str) -> None:
    script = HELD + SLOW_KEY.replace("time.sleep(1000)", trouble)
    error = steps.run(script, budget_ms=5000)["error"]
    assert error["type"] == "ParamsInvalid"
    assert error["message"] == "params can't be read: ValueError"
