"""The table of steps: what a script does, and what is reported of it."""

import json
from typing import TYPE_CHECKING, Any

import pytest

pytestmark = pytest.mark.slow  # with real processes, and what they wait for

if TYPE_CHECKING:
    from tests.runner.step.conftest import Gateway, Steps


def sets(**values: Any) -> list[dict[str, Any]]:
    return [{"op": "set", "path": [key], "value": value} for key, value in values.items()]


@pytest.mark.parametrize(
    ("script", "delta"),
    [
        ("pass", []),
        ("", []),
        ("params['a'] = 1", sets(a=1)),
        ("params['a'] = 1\nreturn 5\nparams['b'] = 2", sets(a=1)),
        ("import asyncio\nawait asyncio.sleep(0)\nparams['a'] = 1", sets(a=1)),
        ("params = {'new': True}", [{"op": "delete", "path": [key]} for key in ("o", "l", "n")]
         + sets(new=True)),
        ("params = {**params, 'a': 1}", sets(a=1)),
        ("params['o']['deep']['x'].append(3)",
         [{"op": "set", "path": ["o", "deep", "x"], "value": [1, 2, 3]}]),
        ("del params['o']['deep']", [{"op": "delete", "path": ["o", "deep"]}]),
        ("params['n'] = 1.0", sets(n=1.0)),
        ("params['n'] = True", sets(n=True)),
        ("params['n'] = 1", []),
        ("params['b'] = 2 ** 100", sets(b=2**100)),
        ("params['b'] = (1, 2)", sets(b=[1, 2])),
        ("import uuid\nparams['u'] = len(str(uuid.uuid4()))", sets(u=36)),
        ("x = params.pop('o')\nparams['o'] = x",
         [{"op": "order", "path": [], "keys": ["l", "n", "o"]}]),
        ("async def f():\n    params['a'] = 1\nawait f()", sets(a=1)),
        ("def f():\n    global params\n    params = {**params, 'a': 1}\nf()", sets(a=1)),
    ],
)  # fmt: skip
def test_succeeds(steps: "Steps", script: str, delta: list[dict[str, Any]]) -> None:
    finish = steps.run(script, {"o": {"deep": {"x": [1, 2]}}, "l": [1], "n": 1})
    assert finish["error"] is None
    assert finish["outcome"] == "succeeded"
    assert finish["terminated"] is False
    assert json.dumps(finish["delta"]) == json.dumps(delta)


@pytest.mark.parametrize(
    ("script", "error", "delta"),
    [
        ("params['a'] = 1\n1 / 0", ("ZeroDivisionError", "division by zero", 2), sets(a=1)),
        ("raise Error(7, 'no port')", ("Error", "no port (code 7)", 1), []),
        ("\n\nraise ValueError('é\\ud800')", ("ValueError", "é?", 3), []),
        ("params['a'] = 1\nraise ExceptionGroup('both', [ValueError('x')])",
         ("ExceptionGroup", "both (1 sub-exception): ValueError: x", 2), sets(a=1)),
        ("import asyncio\nraise asyncio.CancelledError", ("CancelledError", "", 2), []),
        ("import asyncio\nawait asyncio.wait_for(asyncio.sleep(9), 0.01)",
         ("TimeoutError", "", 2), []),
        ("x = 1\nimport os", ("PolicyError", "", 2), []),
        ("x = (", ("PolicyError", "", 1), []),
        ("print(params['gone'])", ("KeyError", "'gone'", 1), []),
        ("context.step = 4", ("", "", 1), []),
        ("secrets['x']", ("KeyError", "the task's `secrets` don't list 'x'; they list: none", 1),
         []),
    ],
)  # fmt: skip
def test_fails(
    steps: "Steps", script: str, error: tuple[str, str, int], delta: list[dict[str, Any]]
) -> None:
    finish = steps.run(script)
    assert finish["outcome"] == "failed"
    assert finish["terminated"] is False
    kind, message, line = error
    told = finish["error"]
    assert kind in told["type"]
    assert message in told["message"]
    assert told["line"] == line
    assert finish["delta"] == delta


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("params['k'] = {1, 2}", "params['k'] is a set"),
        ("params['o']['k'] = float('nan')", "params['o']['k'] is nan"),
        ("params['self'] = params", "params['self'] contains itself"),
        ("params['b'] = 'a' * 2_000_000", "params['b'] makes params larger than 1048576 bytes"),
        ("x = []\nfor i in range(100000): x = [x]\nparams['x'] = x", "params['x'][0][0]"),
        ("params[(1, 2)] = 1", "params has the key (1, 2)"),
        ("params['f'] = lambda: 1", "params['f'] is a function"),
        ("params = 5", "params is an int; it must stay a dict"),
        ("del params", "params is a NoneType"),
        ("params['i'] = 10 ** 200000", "params['i'] is an integer of more than 100000 digits"),
        ("import asyncio\nparams['c'] = asyncio.sleep(0)\nawait asyncio.sleep(0)",
         "params['c'] is a coroutine, which isn't JSON; is an await missing?"),
    ],
)  # fmt: skip
def test_params_that_are_no_json_fail_the_step_and_name_the_key(
    steps: "Steps", script: str, message: str
) -> None:
    finish = steps.run(f"params['edit'] = 1\n{script}", {"o": {}})
    assert finish["outcome"] == "failed"
    assert finish["error"]["type"] == "ParamsInvalid"
    assert message in finish["error"]["message"]
    assert finish["delta"] == []
    assert finish["terminated"] is False


def test_a_script_that_raises_with_bad_params_keeps_its_own_error(steps: "Steps") -> None:
    finish = steps.run("params['s'] = {1}\n1 / 0")
    assert finish["error"]["type"] == "ZeroDivisionError"
    assert finish["error"]["line"] == 2
    assert "params['s'] is a set" in finish["error"]["message"]
    assert finish["delta"] == []


def test_edits_that_are_few_values_on_very_deep_paths(steps: "Steps") -> None:
    script = """
inner = {str(i): 0 for i in range(20000)}
for level in range(190):
    inner = {'k' * 1000: inner}
params['deep'] = inner
"""
    finish = steps.run(script)
    assert finish["error"]["type"] == "ParamsInvalid"
    assert (
        "params['deep'] has more and deeper edits than fit a message"
        in (finish["error"]["message"])
    )


WIDE = "params['m'] = {str(i): 0 for i in range(80000)}"
DEEP = """params['inventory'] = {'site-amsterdam-1': {
    f'GigabitEthernet0/0/{i}': {'vlan': i, 'up': True} for i in range(18000)}}"""


@pytest.mark.parametrize("end", ["", "\n1 / 0"], ids=["ends", "raises"])
@pytest.mark.parametrize("script", [WIDE, DEEP], ids=["wide", "deep"])
def test_a_delta_too_long_for_a_message_is_bundled(steps: "Steps", script: str, end: str) -> None:
    finish = steps.run(script + end)
    params: dict[str, Any] = {}
    exec(script, {"params": params})
    assert finish["delta"] == [{"op": "sets", "values": params}]
    assert (finish["error"] or {}).get("type") == ("ZeroDivisionError" if end else None)


def test_so_are_deletes(steps: "Steps", gateway: "Gateway") -> None:
    many = {str(i): 0 for i in range(80_000)}
    before = {"m": {"many": many}, "o": {"a": 1, "b": 2}}
    script = "params['m']['many'] = {'x': 1}\nparams['o'] = {'b': 2, 'a': 1}"
    finish = steps.run(script, before)
    assert finish["error"] is None
    assert finish["delta"] == [
        {"op": "deletes", "keys": {"m": {"many": dict.fromkeys(many)}}},
        {"op": "sets", "values": {"m": {"many": {"x": 1}}}},
        {"op": "order", "path": ["o"], "keys": ["b", "a"]},
    ]


def test_a_secret_in_a_bundle_is_found(steps: "Steps") -> None:
    script = f"{WIDE}\nparams['m']['x'] = secrets['key']"
    finish = steps.run(script, secrets={"key": "s3cr3t-value"})
    assert finish["error"]["message"].startswith("params['m']['x'] holds a secret's value")
    assert finish["delta"] == []


def test_numbers_and_order_arrive_as_they_are(steps: "Steps") -> None:
    params = {"z": 1.0, "a": 1, "m": -0.0, "big": 10**3000, "t": True}
    script = """
params['seen'] = [str(params['z']), str(params['a']), str(params['m']), str(params['t'])]
params['keys'] = list(params)
params['same'] = params['big'] == 10 ** 3000
"""
    finish = steps.run(script, params)
    assert finish["delta"] == sets(
        seen=["1.0", "1", "-0.0", "True"], keys=["z", "a", "m", "big", "t", "seen"], same=True
    )


def test_context_is_read_only_and_complete(steps: "Steps") -> None:
    script = """
params['c'] = [context.run_id, context.pipeline, context.ref, context.task,
               context.process_type, context.step, context.attempt, context.namespace]
params['more'] = hasattr(context, 'token')
"""
    finish = steps.run(script)
    assert finish["delta"] == sets(c=["run-1", "p", "a", "T", "do", 0, 1, "default"], more=False)


def test_a_copy_of_what_belongs_to_the_step_is_the_thing_itself(steps: "Steps") -> None:
    script = """
from copy import copy, deepcopy
runner = await SDKRunner.load()
for thing in (logger, context, secrets, PipelineRun, SDKRunner, runner):
    if copy(thing) is not thing or deepcopy([thing])[0] is not thing:
        params['other'] = str(thing)
for method in (callout, logger.info, getattr, PipelineRun.create, runner.waitfor, secrets.get):
    if copy(method) != method or deepcopy(method) != method:
        params['other'] = str(method)
"""
    finish = steps.run(script, secrets={"key": "s3cr3t-value"})
    assert (finish["error"], finish["delta"]) == (None, [])


def test_secrets_are_a_mapping(steps: "Steps") -> None:
    script = """
params['names'] = sorted(secrets.keys())
params['lengths'] = [len(secrets['key']), len(secrets), len(secrets.get('none', ''))]
params['in'] = ['key' in secrets, 'x' in secrets]
print(secrets)
"""
    finish = steps.run(script, secrets={"key": "s3cr3t-value", "short": "abc"})
    assert finish["error"] is None
    assert finish["delta"] == sets(
        names=["key", "short"], lengths=[12, 2, 0], **{"in": [True, False]}
    )
    assert "s3cr3t" not in steps.log()


def test_secrets_are_masked_everywhere(steps: "Steps") -> None:
    value = 'p"w\nline-two'
    script = """
s = secrets['key']
print('printed', s, repr(s), s.split('\\n')[1])
logger.info('logged %s %r', s, s)
logger.info('x' * 65530 + s)
params['kept'] = 1
raise ValueError('raised ' + s + repr(s))
"""
    finish = steps.run(script, secrets={"key": value, "second": "line-two"})
    log = steps.log()
    assert "printed *** '***' ***" in log
    assert "logged *** '***'" in log
    assert finish["error"]["message"] == "raised ***'***'"
    assert finish["delta"] == sets(kept=1)
    for text in (log, json.dumps(finish)):
        assert "line-two" not in text
        assert 'p"w' not in text
        assert "p\\" not in text


@pytest.mark.parametrize(
    ("script", "place"),
    [
        ("params['a'] = {'b': ['x', 'pre-' + secrets['key']]}", "params['a']['b'][1]"),
        ("params['a'] = {secrets['key']: 1}", "params['a']['***']"),
        ("params['n'] = int(secrets['number'])", "params['n']"),
        ("params['s'] = secrets['short']", "params['s']"),
        ("params['s'] = f'a {secrets[\"short\"]}.'", "params['s']"),
        ("params['s'] = 'user:' + secrets['short'] + '@host'", "params['s']"),
        ("params['a'] = {secrets['key']: {}}", "params['a']['***']"),
        ("params[secrets['key']] = []", "params['***']"),
    ],
)
def test_a_secret_in_params_fails_the_step(steps: "Steps", script: str, place: str) -> None:
    secrets = {"key": "s3cr3t-value", "number": "12345678", "short": "test"}
    finish = steps.run(script, secrets=secrets)
    assert finish["error"]["type"] == "ParamsInvalid"
    assert finish["error"]["message"].startswith(f"{place} holds a secret's value")
    assert finish["delta"] == []


def test_a_word_that_contains_a_short_secret_is_no_secret(steps: "Steps") -> None:
    finish = steps.run("params['v'] = 'latest'", {"old": "test"}, secrets={"key": "test"})
    assert finish["delta"] == sets(v="latest")


def test_what_is_left_running_ends_with_the_script(steps: "Steps") -> None:
    script = """
import asyncio
async def stubborn():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            params['cancelled'] = params.get('cancelled', 0) + 1
async def careless():
    raise ValueError('nobody looks')
asyncio.create_task(stubborn())
asyncio.create_task(careless())
await asyncio.sleep(0.01)
params['done'] = True
"""
    finish = steps.run(script)
    assert finish["outcome"] == "succeeded"
    assert {"op": "set", "path": ["done"], "value": True} in finish["delta"]


def test_pythons_own_messages_go_by_the_log(steps: "Steps") -> None:
    script = """
import asyncio
async def careless():
    raise ValueError('no\\n2026-01-02T03:04:05.678Z INFO forged ' + secrets['key'])
asyncio.create_task(careless())
await asyncio.sleep(0.01)
async def never(): pass
never()
"""
    finish = steps.run(script, secrets={"key": "s3cr3t-value"})
    assert finish["error"] is None
    lines = steps.log().splitlines()
    assert any("WARNING" in line and "ValueError: no\\n2026" in line for line in lines)
    assert any("WARNING RuntimeWarning: coroutine" in line for line in lines)
    assert not any(line.startswith("2026-01-02T03:04:05.678Z") for line in lines)
    assert "s3cr3t" not in steps.log()


def test_what_the_elapsed_time_counts(steps: "Steps") -> None:
    finish = steps.run("import time\ntime.sleep(0.05)")
    assert 50 <= finish["elapsed_ms"] < 5000


@pytest.mark.parametrize(
    ("begun", "told"),
    [
        ({"context": None, "script": "print(context.step)"}, "TypeError"),
        ({"params": [1]}, "ParamsInvalid"),
        ({"script": None}, "PolicyError"),
        ({"allowed_imports": 5}, "TypeError"),
        ({"budget_ms": "soon"}, "TypeError"),
    ],
)
def test_a_step_that_began_is_reported_whatever_happens(
    steps: "Steps", begun: dict[str, Any], told: str
) -> None:
    finish = steps.run(**{"script": "pass", **begun})
    assert finish["outcome"] == "failed"
    assert told in json.dumps(finish["error"])


def test_the_script_cannot_reach_the_report(steps: "Steps", gateway: "Gateway") -> None:
    steps.run("params['x'] = 1")
    (begin,) = gateway.said("/v1/begin")
    (finish,) = gateway.said("/v1/finish")
    assert begin["nonce"] == finish["nonce"]
    assert len(begin["nonce"]) == 32
    assert begin["runner"] == f"pid-{steps.pid}"
    assert gateway.tokens == {"bearer token-1"}
