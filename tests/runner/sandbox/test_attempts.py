"""Scripts that want to break out: none does, none crashes the interpreter."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ATTEMPTS = [
    *json.loads((HERE.parent / "attempts.json").read_text()),
    *json.loads((HERE / "more_attempts.json").read_text()),
]
LIMITS = (None, signal.SIGPROF, signal.SIGKILL)


@pytest.mark.parametrize("attempt", [pytest.param(a, id=a["name"]) for a in ATTEMPTS])
def test_an_attempt_fails(attempt: dict[str, str], run_script: Callable[..., Any]) -> None:
    answer = run_script(attempt["script"], cpu=0.3, wall=1)
    assert not answer["escaped"], answer
    assert answer["signal"] in LIMITS, f"crashed with signal {answer['signal']}"


def test_names_of_attempts_are_unique() -> None:
    names = [attempt["name"] for attempt in ATTEMPTS]
    assert len(set(names)) == len(names)
    assert len(names) >= 222


def test_a_script_that_does_escape_is_noticed(run_script: Callable[..., Any]) -> None:
    """The harness itself: without this, all the above would pass on a dead process."""
    answer = run_script("params['escaped'] = bool(context.run_id)")
    assert answer == {
        "escaped": True,
        "signal": None,
        "error": None,
        "params": {"escaped": True},
        "output": 0,
    }


def test_a_script_that_spins_is_ended_by_the_limit(run_script: Callable[..., Any]) -> None:
    assert run_script("while True: pass", cpu=0.1)["signal"] == signal.SIGPROF
