"""The launcher of processes: from start to end, with real processes."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from tests.local.conftest import RUN, Launching, Order, runner_of
from tests.local.kit.gateway import ToyGateway

from xaas_core.engine.facts import Phase
from xaas_core.engine.plan import SecretRef
from xaas_core.engine.states import Reason, Side
from xaas_core.ports import RunnerKey, Unavailable
from xaas_local.data import DataDir
from xaas_local.launcher import ProcessLauncher
from xaas_local.launches import Launches
from xaas_local.logs import FileLogs

pytestmark = [pytest.mark.anyio, pytest.mark.slow]  # with real processes

SLEEPS = "await asyncio.sleep(600)"
# A long call into C hears no signal; should one come before it, that is swallowed.
DEAF = """
while True:
    try:
        print('deaf')
        sum(range(10**12))
    except:
        pass
"""


async def test_steps_run_one_after_the_other_in_processes_of_their_own(
    launching: Launching, gateway: ToyGateway, data: DataDir, order: Order
) -> None:
    attempt = gateway.add("token-x", "print('one')\nparams['a'] = 1", "print('two')")
    asked = order("x", steps=2)
    runner = runner_of(asked)
    await launching.launcher.start(asked)
    assert (await launching.sight(runner)).phase is Phase.LIVE
    seen = await launching.until_ended(runner)
    assert (seen.phase, seen.reason, seen.message) == (Phase.OVER, Reason.NONE, "")
    assert [attempt.finished[step]["outcome"] for step in (0, 1)] == ["succeeded", "succeeded"]
    assert attempt.finished[0]["delta"] == [{"op": "set", "path": ["a"], "value": 1}]
    assert attempt.begun[0] != attempt.begun[1]
    logs = FileLogs(data)
    for step, text in ((0, b"one\n"), (1, b"two\n")):
        assert b"".join([part async for part in logs.read(runner, step, 0)]) == text
    assert {path.name for path in data.runners.iterdir()} == {"journal", "0.lock"}
    assert not list(data.scratch.iterdir())
    assert launching.heard == [RUN]


async def test_after_a_step_that_says_so_no_other_is_made(
    launching: Launching, gateway: ToyGateway, order: Order
) -> None:
    attempt = gateway.add("token-x", "raise Error(1, 'no')", "pass")
    asked = order("x", steps=2)
    await launching.launcher.start(asked)
    seen = await launching.until_ended(runner_of(asked))
    assert (seen.phase, seen.reason, seen.message) == (Phase.OVER, Reason.NONE, "")
    assert (list(attempt.finished), attempt.refused) == ([0], [])


async def test_slots_are_used_again_by_launches_that_follow(
    launching: Launching, gateway: ToyGateway, data: DataDir, order: Order
) -> None:
    async def run(*numbers: int) -> None:
        for number in numbers:
            gateway.add(f"token-{number}", "print('here')")
        orders = [order(str(number), attempt=number) for number in numbers]
        for each in orders:
            await launching.launcher.start(each)
        for each in orders:
            assert (await launching.until_ended(runner_of(each))).message == ""

    await run(1, 2, 3)
    for number in range(4, 9):
        await run(number)
    assert {path.name for path in data.runners.glob("*.lock")} == {"0.lock", "1.lock", "2.lock"}
    assert all(len(attempt.finished) == 1 for attempt in gateway.attempts.values())


async def test_start_twice_is_one_runner(
    launching: Launching, gateway: ToyGateway, order: Order
) -> None:
    attempt = gateway.add("token-x", "pass")
    asked = order("x")
    await launching.launcher.start(asked)
    await launching.launcher.start(asked)
    await launching.until_ended(runner_of(asked))
    await launching.launcher.start(asked)
    assert (await launching.sight(runner_of(asked))).phase is Phase.OVER
    assert (len(attempt.begun), attempt.refused) == (1, [])


async def test_what_was_never_started_is_absent(launching: Launching) -> None:
    runner = RunnerKey(RUN, "a", Side.DO, 1, 1)
    assert (await launching.sight(runner)).phase is Phase.ABSENT


async def test_an_older_runner_that_lives_is_told(
    launching: Launching, gateway: ToyGateway, order: Order
) -> None:
    attempt = gateway.add("token-x", SLEEPS)
    asked = order("x")
    await launching.launcher.start(asked)
    await gateway.until(lambda: attempt.begun)
    seen = await launching.sight(RunnerKey(RUN, "a", Side.DO, 2, 1))
    assert (seen.phase, seen.attempt, seen.launch) == (Phase.LIVE, 1, 1)
    await launching.launcher.end(runner_of(asked), 5000)


async def test_end_stops_a_script_in_time(
    launching: Launching, gateway: ToyGateway, order: Order
) -> None:
    attempt = gateway.add("token-x", SLEEPS, "pass")
    asked = order("x", steps=2)
    await launching.launcher.start(asked)
    await gateway.until(lambda: attempt.begun)
    await launching.launcher.end(runner_of(asked), 10_000)
    await launching.launcher.end(runner_of(asked), 10_000)
    seen = await launching.until_ended(runner_of(asked))
    assert seen.phase is Phase.OVER
    assert attempt.finished[0]["terminated"] is True
    assert 1 not in attempt.begun


async def test_end_kills_what_doesnt_listen(
    launching: Launching, gateway: ToyGateway, order: Order
) -> None:
    attempt = gateway.add("token-x", DEAF)
    asked = order("x")
    await launching.launcher.start(asked)
    await launching.until_printed(runner_of(asked))
    await launching.launcher.end(runner_of(asked), 100)
    seen = await launching.until_ended(runner_of(asked))
    assert (seen.phase, seen.reason, seen.message) == (Phase.OVER, Reason.NONE, "")
    assert not attempt.finished


@pytest.mark.parametrize("grace", [1, 10, 33, 70, 130])
async def test_whenever_the_time_is_up(
    launching: Launching, gateway: ToyGateway, order: Order, grace: int
) -> None:
    """The loop's timers may come a little early: SIGKILL all the same."""
    orders = [replace(order(ref), ref=ref) for ref in "abcde"]
    for each in orders:
        gateway.add(each.token, DEAF)
        await launching.launcher.start(each)
    for each in orders:
        await launching.until_printed(runner_of(each))
    for each in orders:
        await launching.launcher.end(runner_of(each), grace)
        assert (await launching.until_ended(runner_of(each))).phase is Phase.OVER


async def test_a_shorter_grace_wins(
    launching: Launching, gateway: ToyGateway, order: Order
) -> None:
    gateway.add("token-x", DEAF)
    asked = order("x")
    await launching.launcher.start(asked)
    await launching.until_printed(runner_of(asked))
    await launching.launcher.end(runner_of(asked), 3_600_000)
    await launching.launcher.end(runner_of(asked), 0)
    assert (await launching.until_ended(runner_of(asked))).phase is Phase.OVER


async def test_end_of_one_that_waits_for_its_turn(
    launching: Launching, gateway: ToyGateway, order: Order
) -> None:
    attempt = gateway.add("token-x", "pass", "pass")
    asked = replace(order("x", steps=2), steps=(1,))  # and step 0 never begins
    await launching.launcher.start(asked)
    await gateway.until(lambda: attempt.waiting)
    await launching.launcher.end(runner_of(asked), 10_000)
    assert (await launching.until_ended(runner_of(asked))).phase is Phase.OVER
    assert not attempt.begun


async def test_end_of_one_that_hears_nothing_of_the_gateway(
    launching: Launching, gateway: ToyGateway, order: Order
) -> None:
    await gateway.close()
    asked = order("x")
    await launching.launcher.start(asked)
    await launching.launcher.end(runner_of(asked), 200)
    assert (await launching.until_ended(runner_of(asked))).phase is Phase.OVER


async def test_killed_from_outside(
    launching: Launching, gateway: ToyGateway, data: DataDir, order: Order
) -> None:
    attempt = gateway.add("token-x", SLEEPS)
    asked = order("x")
    await launching.launcher.start(asked)
    await gateway.until(lambda: attempt.begun)
    os.kill(launching.step_pid(), 9)
    seen = await launching.until_ended(runner_of(asked))
    assert (seen.phase, seen.reason) == (Phase.OVER, Reason.NONE)
    assert "signal 9 (SIGKILL)" in seen.message


async def test_memory_limit(launching: Launching, gateway: ToyGateway, order: Order) -> None:
    attempt = gateway.add("token-x", "x = 'x' * (100 * 1024 * 1024)")
    asked = order("x", resources={"limits": {"memory": "32Mi"}})
    await launching.launcher.start(asked)
    await launching.until_ended(runner_of(asked))
    assert attempt.finished[0]["error"]["type"] == "MemoryError"


async def test_memory_above_the_default_limit(
    launching: Launching, gateway: ToyGateway, order: Order
) -> None:
    attempt = gateway.add("token-x", "x = 'x' * (600 * 1024 * 1024)")
    asked = order("x", resources={"limits": {"memory": "1Gi"}})
    await launching.launcher.start(asked)
    await launching.until_ended(runner_of(asked))
    assert attempt.finished[0]["outcome"] == "succeeded"


@pytest.mark.slow
async def test_cpu_limit(launching: Launching, gateway: ToyGateway, order: Order) -> None:
    # Half a core for two seconds is one second of CPU time.
    attempt = gateway.add("token-x", "while True: pass")
    asked = order("x", resources={"limits": {"cpu": "500m"}}, timeout=2000)
    await launching.launcher.start(asked)
    await launching.until_ended(runner_of(asked))
    assert attempt.finished[0]["error"]["type"] == "CpuLimit"


@pytest.mark.parametrize(
    ("resources", "place"),
    [
        ({"limits": {"memory": "much"}}, "resources.limits.memory"),
        ({"limits": {"memory": "0"}}, "resources.limits.memory"),
        ({"limits": {"cpu": []}}, "resources.limits.cpu"),
        ({"limits": "1Gi"}, "resources.limits"),
    ],
)
async def test_limits_that_mean_nothing_are_refused(
    launching: Launching, order: Order, resources: dict[str, object], place: str
) -> None:
    asked = order("x", resources=resources)
    await launching.launcher.start(asked)
    seen = await launching.sight(runner_of(asked))
    assert (seen.phase, seen.reason) == (Phase.REFUSED, Reason.INVALID_JOB)
    assert place in seen.message
    assert "task a" in seen.message
    assert launching.heard == [RUN]


SECRET = (SecretRef("password", "db-main", "pass.word"),)
USES_SECRET = "params['length'] = len(secrets['password'])"


def write_secret(data: DataDir, mode: int, text: str = "swordfish\n") -> Path:
    path = data.secrets / "db-main" / "pass.word"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


async def test_a_secret_from_a_file(
    launching: Launching, gateway: ToyGateway, data: DataDir, order: Order
) -> None:
    write_secret(data, 0o400)
    attempt = gateway.add("token-x", USES_SECRET)
    asked = order("x", secrets=SECRET)
    await launching.launcher.start(asked)
    assert "swordfish" not in (data.runners / "journal").read_text()
    await launching.until_ended(runner_of(asked))
    assert attempt.finished[0]["delta"] == [{"op": "set", "path": ["length"], "value": 9}]


async def test_a_secret_from_the_environment(
    data: DataDir, gateway: ToyGateway, order: Order
) -> None:
    environment = {"XAAS_SECRET_DB_MAIN_PASS_WORD": "tuna"}
    launching = Launching(data, gateway, environment=environment)
    await launching.launcher.start_up()
    attempt = gateway.add("token-x", USES_SECRET)
    asked = order("x", secrets=SECRET)
    await launching.launcher.start(asked)
    await launching.until_ended(runner_of(asked))
    await launching.launcher.close()
    assert attempt.finished[0]["delta"] == [{"op": "set", "path": ["length"], "value": 4}]


@pytest.mark.parametrize(
    ("mode", "secret", "texts"),
    [
        (None, ("db-main", "pass.word"), ["missing", "XAAS_SECRET_DB_MAIN_PASS_WORD", "db-main/"]),
        (0o640, ("db-main", "pass.word"), ["mode 640", "chmod 600"]),
        (0o600, ("..", "pass.word"), ["can't be a file's name"]),
        (0o600, ("db-main", "../key"), ["can't be a file's name"]),
    ],
)
async def test_a_secret_that_cant_be_had_is_refused(
    launching: Launching, order: Order, mode: int | None, secret: tuple[str, str], texts: list[str]
) -> None:
    if mode is not None:
        write_secret(launching.data, mode)
    asked = order("x", secrets=(SecretRef("password", *secret),))
    await launching.launcher.start(asked)
    seen = await launching.sight(runner_of(asked))
    assert (seen.phase, seen.reason) == (Phase.REFUSED, Reason.NOT_STARTED)
    for text in texts:
        assert text in seen.message
    assert "swordfish" not in seen.message


async def test_forget_removes_logs_and_launches(
    launching: Launching, gateway: ToyGateway, data: DataDir, order: Order
) -> None:
    attempt = gateway.add("token-x", "print('here')\n" + SLEEPS)
    asked, refused = order("x"), order("y", launch=2, secrets=SECRET)
    await launching.launcher.start(asked)
    await launching.launcher.start(refused)
    await gateway.until(lambda: attempt.begun)
    await launching.launcher.forget(RUN)
    await launching.until_ended(runner_of(asked))
    assert (await launching.sight(runner_of(asked))).phase is Phase.ABSENT
    assert (await launching.sight(runner_of(refused))).phase is Phase.ABSENT
    assert not list(data.logs.iterdir())
    await launching.launcher.close()
    assert Launches(data).open() == []


async def test_the_warm_process_dies(
    launching: Launching, gateway: ToyGateway, data: DataDir, order: Order
) -> None:
    first = gateway.add("token-x", "await asyncio.sleep(0.5)", "pass")
    asked = order("x", steps=2)
    await launching.launcher.start(asked)
    await gateway.until(lambda: first.begun)
    warm = launching.launcher._warm.pid
    assert warm is not None
    os.kill(warm, 9)
    # Asked for while there is nobody to hear it.
    second = gateway.add("token-y", "pass")
    later = order("y", attempt=2)
    await launching.launcher.start(later)
    assert (await launching.sight(runner_of(asked))).phase is Phase.LIVE
    for each in (later, asked):
        seen = await launching.until_ended(runner_of(each))
        assert (seen.phase, seen.message) == (Phase.OVER, "")
    assert first.finished.keys() == {0, 1}
    assert second.finished.keys() == {0}
    assert not list(data.scratch.iterdir())


async def test_an_orphan_is_ended(launching: Launching, gateway: ToyGateway, order: Order) -> None:
    gateway.add("token-x", DEAF)
    asked = order("x")
    await launching.launcher.start(asked)
    await launching.until_printed(runner_of(asked))
    warm = launching.launcher._warm.pid
    assert warm is not None
    os.kill(warm, 9)
    await launching.until(lambda: launching.launcher._warm.pid != warm)
    await launching.launcher.end(runner_of(asked), 100)
    assert (await launching.until_ended(runner_of(asked))).phase is Phase.OVER


async def test_a_step_that_cant_be_started_is_tried_again(
    launching: Launching, gateway: ToyGateway, data: DataDir, order: Order
) -> None:
    attempt = gateway.add("token-x", "pass")
    asked = order("x")
    in_the_way = data.logs / RUN
    in_the_way.write_text("no folder")
    await launching.launcher.start(asked)
    assert (await launching.sight(runner_of(asked))).phase is Phase.LIVE
    in_the_way.unlink()
    assert (await launching.until_ended(runner_of(asked))).phase is Phase.OVER
    assert attempt.finished.keys() == {0}


async def test_what_could_never_be_started_says_why(
    launching: Launching, data: DataDir, order: Order
) -> None:
    (data.logs / RUN).write_text("no folder")
    asked = order("x")
    await launching.launcher.start(asked)
    await launching.launcher.end(runner_of(asked), 5000)
    seen = await launching.until_ended(runner_of(asked))
    assert seen.phase is Phase.OVER
    assert "no process could be started" in seen.message


async def test_an_end_out_of_order_is_known_after_a_restart(
    launching: Launching, gateway: ToyGateway, data: DataDir, order: Order
) -> None:
    attempt = gateway.add("token-x", SLEEPS)
    asked = order("x")
    await launching.launcher.start(asked)
    await gateway.until(lambda: attempt.begun)
    os.kill(launching.step_pid(), 9)
    before = await launching.until_ended(runner_of(asked))
    await launching.launcher.close()
    again = Launching(data, gateway)
    await again.launcher.start_up()
    assert await again.sight(runner_of(asked)) == before
    await again.launcher.close()


async def test_what_is_kept_is_private(
    launching: Launching, gateway: ToyGateway, data: DataDir, order: Order
) -> None:
    attempt = gateway.add("token-x", SLEEPS)
    await launching.launcher.start(order("x"))
    await gateway.until(lambda: attempt.begun)
    for path in data.path.rglob("*"):
        if not path.is_socket():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    await launching.launcher.end(runner_of(order("x")), 0)


async def test_nothing_is_guessed_before_the_start(data: DataDir, gateway: ToyGateway) -> None:
    launcher = ProcessLauncher(data, gateway.address)
    with pytest.raises(Unavailable):
        await launcher.sight(RUN, [])


async def test_a_launch_that_cant_be_noted_isnt_started(
    launching: Launching, data: DataDir, order: Order
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, launching.launcher._launches._file)
    os.close(full)
    asked = order("x")
    with pytest.raises(Unavailable, match="can't be noted"):
        await launching.launcher.start(asked)
    assert (await launching.sight(runner_of(asked))).phase is Phase.ABSENT
