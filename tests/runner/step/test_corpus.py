"""Scripts that lie about their result, and scripts that use up the machine: through a whole step."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from xaas_runner.contract import FINISH_PATH

pytestmark = pytest.mark.slow  # with real processes, and what they wait for

if TYPE_CHECKING:
    from tests.runner.step.conftest import Gateway, Steps

ATTEMPTS = json.loads((Path(__file__).parents[1] / "attempts.json").read_text())
LIMITS = {"memory_bytes": 128 << 20, "cpu_seconds": 1}

# What is right for each: the error's type and a part of its message; None: a success is the truth.
TAMPER: dict[str, tuple[str, str] | None] = {
    "exit-0": ("PolicyError", "SystemExit"),
    "keyboard-interrupt": ("PolicyError", "KeyboardInterrupt"),
    "forge-log-newline": None,
    "params-cycle": ("ParamsInvalid", "params['self'] contains itself"),
    "params-nan": ("ParamsInvalid", "params['n'] is nan"),
    "params-deep": ("ParamsInvalid", "params['x']"),
    "params-nonstr-key": ("ParamsInvalid", "params has the key (1, 2)"),
    "params-big-value": ("ParamsInvalid", "params['b'] makes params larger"),
    "swallow-cancel": ("Timeout", "longer than its timeout"),
    "exception-str-raises": ("E", "(its message can't be shown)"),
}


def of(kind: str) -> list[Any]:
    found = [attempt for attempt in ATTEMPTS if attempt["class"] == kind]
    assert len(found) >= 10
    return [pytest.param(attempt, id=attempt["name"]) for attempt in found]


@pytest.mark.parametrize("attempt", of("tamper"))
def test_nothing_untrue_is_reported(
    steps: "Steps", gateway: "Gateway", attempt: dict[str, str]
) -> None:
    finish = steps.run(attempt["script"], budget_ms=500)
    right = TAMPER[attempt["name"]]
    assert len(gateway.said(FINISH_PATH)) == 1
    if right is None:
        assert finish["outcome"] == "succeeded"
        assert len(steps.log().splitlines()) == 1
        return
    assert finish["outcome"] == "failed"
    assert finish["delta"] == []
    kind, message = right
    assert finish["error"]["type"] == kind
    assert message in finish["error"]["message"]


@pytest.mark.parametrize("attempt", of("dos"))
def test_limits_end_what_would_never_end(
    steps: "Steps", gateway: "Gateway", attempt: dict[str, str]
) -> None:
    steps.start(attempt["script"], limits=LIMITS, budget_ms=3000)
    exited = steps.exited(30)
    if exited["code"] == 0:
        (finish,) = gateway.said(FINISH_PATH)
        # Two of them are harmless where the compiler takes them: no limit is reached.
        if attempt["name"] not in ("compile-deep-binop", "compile-fold"):
            assert finish["outcome"] == "failed"
            assert finish["error"]["type"] in ("CpuLimit", "Timeout", "MemoryError")
    else:
        assert exited["cpu_hint"] or exited["oom_hint"]
        assert gateway.said(FINISH_PATH) == []
    # The process that forks is as it was.
    assert steps.run("params['a'] = 1")["outcome"] == "succeeded"


@pytest.mark.parametrize(
    "attempt",
    [
        pytest.param(attempt, id=f"{attempt['class']}-{attempt['name']}")
        for attempt in ATTEMPTS
        if attempt["class"] not in ("tamper", "dos")
    ],
)
def test_nothing_escapes(steps: "Steps", attempt: dict[str, str]) -> None:
    steps.start(attempt["script"], budget_ms=5000)
    exited = steps.exited()
    if exited["code"] == 0:
        (finish,) = steps.gateway.said(FINISH_PATH)
        escaped = {"op": "set", "path": ["escaped"], "value": True} in finish["delta"]
        assert not (finish["outcome"] == "succeeded" and escaped)
