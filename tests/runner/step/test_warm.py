"""The warm process, as the embedded server uses it."""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.runner.step.conftest import GARBAGE

from xaas_runner.contract import BEGIN_PATH, FINISH_PATH, PROTOCOL

pytestmark = pytest.mark.slow  # with real processes, and what they wait for

if TYPE_CHECKING:
    from tests.runner.step.conftest import Child, Gateway, Steps

OLD_GROUPS = Path("/sys/fs/cgroup/memory")
NEW_GROUPS = Path("/sys/fs/cgroup")
ENDLESS = "print('up')\nimport time\ntime.sleep(60)"


def is_locked(path: Path) -> bool:
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def until(true: Callable[[], bool], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_it_says_ready_and_answers_a_ping(warm: "Child") -> None:
    assert warm.ready == {"event": "ready", "pid": warm.process.pid, "protocol": PROTOCOL}
    assert warm.answer({"call": "ping", "id": "p-1"}) == {"event": "pong", "id": "p-1"}


def test_a_step_from_spawn_to_exit(steps: "Steps", gateway: "Gateway") -> None:
    steps.start(ENDLESS)
    gateway.wait_for(BEGIN_PATH)
    until(lambda: "up" in steps.log())
    assert is_locked(steps.lock_path)
    assert steps.lock_path.read_text() == f"{steps.id} {steps.pid}\n"
    assert os.getsid(steps.pid) == steps.pid
    assert steps.scratch.is_dir()
    assert steps.scratch.stat().st_mode & 0o777 == 0o700
    assert steps.kill(signal.SIGTERM) == {"event": "killed", "id": steps.id, "alive": True}
    exited = steps.exited()
    assert exited.pop("cpu_seconds") < 5
    assert exited == {
        "event": "exited",
        "id": steps.id,
        "pid": steps.pid,
        "code": 0,
        "signal": None,
        "oom_hint": False,
        "cpu_hint": False,
    }
    assert not is_locked(steps.lock_path)
    assert steps.lock_path.read_text() == f"{steps.id} {steps.pid} 0\n"
    assert not steps.scratch.exists()
    assert steps.kill(signal.SIGTERM)["alive"] is False


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
@pytest.mark.skipif(os.getuid() != 0, reason="a process that isn't dumpable shows root only")
def test_a_child_holds_nothing_but_its_own(steps: "Steps", gateway: "Gateway") -> None:
    steps.start(ENDLESS)
    gateway.wait_for(BEGIN_PATH)
    until(lambda: "up" in steps.log())
    process = Path(f"/proc/{steps.pid}")
    open_files = {entry.name: os.readlink(entry) for entry in (process / "fd").iterdir()}  # noqa: PTH115
    assert {open_files.pop(standard) for standard in "012"} == {"/dev/null"}
    kinds = sorted(target.split(":")[0] for target in open_files.values())
    own = [str(steps.lock_path), str(steps.log_path), "socket"]
    assert kinds == sorted(own), "the gateway's socket, no other"
    assert (process / "cwd").readlink() == steps.scratch
    assert (process / "environ").read_bytes() == b""


def test_a_locked_step_is_refused(steps: "Steps", gateway: "Gateway") -> None:
    steps.start(ENDLESS)
    gateway.wait_for(BEGIN_PATH)
    lock_path, first = str(steps.lock_path), steps.id
    answer = steps.spawn(lock_path=lock_path)
    assert answer["event"] == "refused"
    assert "BlockingIOError" in answer["error"]
    answer = steps.spawn(id=first)
    assert answer == {
        "event": "refused",
        "id": first,
        "error": f"ValueError: '{first}' is running already",
    }
    steps.id = first
    steps.kill(signal.SIGKILL)
    assert steps.exited()["signal"] == signal.SIGKILL


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"call": "spawn", "id": "x"}, "KeyError: 'gateway'"),
        ({"call": "spawn", "id": "x", "gateway": "g", "token": 5}, "'token' must be a text"),
        ({"call": "fly", "id": "x"}, "unknown call 'fly'"),
        ({"call": "kill", "id": "x", "signal": "now"}, "ValueError"),
    ],
)
def test_what_cannot_be_understood_is_refused(
    warm: "Child", message: dict[str, Any], error: str
) -> None:
    answer = warm.answer(message)
    assert answer["event"] == "refused"
    assert error in answer["error"]


def test_a_log_that_cannot_be_opened_is_refused(steps: "Steps", gateway: "Gateway") -> None:
    gateway.serve("pass")
    in_the_way = steps.folder / "in the way"
    in_the_way.touch()
    answer = steps.spawn(log_path=str(in_the_way / "1.log"))
    assert answer["event"] == "refused"
    assert "NotADirectoryError" in answer["error"]
    assert not is_locked(steps.lock_path)
    assert steps.lock_path.read_text() == ""


def test_the_folder_of_the_log_is_made(steps: "Steps", gateway: "Gateway") -> None:
    gateway.serve("print('here')")
    path = steps.folder / "logs" / "1.log"
    steps.spawn(log_path=str(path))
    steps.exited()
    assert path.read_text() == "here\n"
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_lock_file_is_used_again(steps: "Steps", gateway: "Gateway") -> None:
    gateway.serve("pass")
    path = steps.folder / "used.lock"
    path.write_text("an-earlier-process-of-a-much-longer-name 4194303 143\n")
    steps.spawn(lock_path=str(path))
    steps.exited()
    assert path.read_text().splitlines()[0] == f"{steps.id} {steps.pid} 0"


@pytest.mark.parametrize(("follows", "code"), [(True, 0), (False, 10), (None, 0)])
def test_the_exit_code_tells_that_nothing_follows(
    steps: "Steps", gateway: "Gateway", follows: bool | None, code: int
) -> None:
    more = {} if follows is None else {"next": follows}
    gateway.answers[FINISH_PATH] = [lambda message: {"answer": "recorded", **more}]
    steps.start("pass")
    assert steps.exited()["code"] == code


def test_a_scratch_folder_in_use_is_removed_too(steps: "Steps", gateway: "Gateway") -> None:
    gateway.serve("pass")
    left = steps.folder / "left"
    (left / "folder").mkdir(parents=True)
    (left / "folder" / "file").touch()
    steps.spawn(scratch=str(left))
    steps.exited()
    assert not left.exists()


def test_a_line_that_is_no_json(start_child: Callable[[str], "Child"]) -> None:
    child = start_child("warm")
    child.ours.sendall(b"{nonsense\n[]\n")
    for _ in range(2):
        assert child.wait(lambda message: message["event"] == "refused")["id"] is None
    assert child.answer({"call": "ping", "id": "p"})["event"] == "pong"


def test_the_log_is_appended_to(steps: "Steps", folder: Path) -> None:
    path = folder / "1.log"
    path.write_text("before\n")
    steps.run("print('after')")
    assert path.read_text() == "before\nafter\n"


def test_many_at_once(steps: "Steps", gateway: "Gateway") -> None:
    gateway.serve("import time\ntime.sleep(0.2)\nparams['a'] = 1")
    ids = []
    for _ in range(8):
        steps.spawn()
        ids.append(steps.id)
    for id in ids:
        steps.id = id
        assert steps.exited()["code"] == 0
    finishes = gateway.said(FINISH_PATH)
    assert len(finishes) == 8
    assert len({finish["nonce"] for finish in finishes}) == 8
    assert {finish["outcome"] for finish in finishes} == {"succeeded"}


def test_chance_differs_between_children(steps: "Steps") -> None:
    script = "import random, uuid\nparams['r'] = [random.random(), str(uuid.uuid4())]"
    first, second = steps.run(script), steps.run(script)
    one, other = first["delta"][0]["value"], second["delta"][0]["value"]
    assert one[0] != other[0]
    assert one[1] != other[1]


def test_when_the_server_is_gone_the_children_go_on_and_deliver(
    start_child: Callable[[str], "Child"],
    steps: "Steps",
    gateway: "Gateway",
    alive: Callable[[int], bool],
) -> None:
    steps.warm = start_child("warm")
    script = """
import asyncio
print('up')
while not params.get('go on'):
    await asyncio.sleep(0.02)
    if (await PipelineRun.load('x')).instance_id:
        params['go on'] = True
print('still here')
"""
    gateway.serve(script)
    gateway.answers["/v1/child"] = [lambda message: None] * 3 + [lambda message: {"status": "x"}]
    steps.spawn()
    until(lambda: "up" in steps.log())
    gateway.go_away()
    steps.warm.hang_up()
    assert steps.warm.process.wait(5) == 0
    time.sleep(0.2)
    assert alive(steps.pid)
    assert is_locked(steps.lock_path)
    gateway.come()
    assert gateway.finished.wait(10)
    until(lambda: not is_locked(steps.lock_path))
    assert gateway.said(FINISH_PATH)[-1]["outcome"] == "succeeded"
    assert "still here" in steps.log()


def test_killing_the_warm_process_leaves_its_children_alone(
    start_child: Callable[[str], "Child"], steps: "Steps", gateway: "Gateway"
) -> None:
    steps.warm = start_child("warm")
    gateway.serve("import time\nprint('up')\ntime.sleep(0.3)\nparams['a'] = 1")
    steps.spawn()
    until(lambda: "up" in steps.log())
    # The whole process group, as a terminal would; then for good.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
        os.kill(steps.warm.process.pid, number)
    steps.warm.process.wait(5)
    assert gateway.finished.wait(10)
    (finish,) = gateway.said(FINISH_PATH)
    assert finish["outcome"] == "succeeded"


def test_ctrl_c_in_the_terminal_does_not_end_it(start_child: Callable[[str], "Child"]) -> None:
    child = start_child("warm")
    os.kill(child.process.pid, signal.SIGINT)
    os.kill(child.process.pid, signal.SIGHUP)
    assert child.answer({"call": "ping", "id": "p"})["event"] == "pong"


@pytest.mark.parametrize(
    "script",
    [
        "params['a'] = 1\nx = 'a' * 10 ** 10",
        "params['a'] = 1\nx = []\nwhile True: x.append('x' * 100_000)",
        "params['a'] = 1\nwhile True: params[len(params)] = 'x' * 100_000",
        "import asyncio\nx = [await asyncio.sleep(0, 'x' * 10 ** 6) for i in range(10 ** 6)]",
    ],
)
def test_memory_that_isnt_there_is_a_memory_error_with_its_line(
    steps: "Steps", script: str
) -> None:
    finish = steps.run(script, limits={"memory_bytes": 64 << 20, "cpu_seconds": 20})
    assert finish["error"]["type"] == "MemoryError"
    assert finish["error"]["line"] >= 2
    assert "used up its memory limit" in finish["error"]["message"]
    assert finish["terminated"] is False


def test_garbage_is_collected(steps: "Steps") -> None:
    finish = steps.run(GARBAGE, limits={"memory_bytes": 64 << 20, "cpu_seconds": 20})
    assert finish["outcome"] == "succeeded"


def test_cpu_time_used_up_inside_one_call_is_a_kill(steps: "Steps", gateway: "Gateway") -> None:
    steps.start("sum(range(10 ** 12))", limits={"memory_bytes": None, "cpu_seconds": 1})
    exited = steps.exited(20)
    assert exited["signal"] == signal.SIGKILL
    assert exited["cpu_hint"] is True
    assert exited["oom_hint"] is False
    assert gateway.said(FINISH_PATH) == []


def test_killed_by_somebody_else(steps: "Steps") -> None:
    steps.start(ENDLESS)
    until(lambda: steps.log_path.exists() and "up" in steps.log())
    os.kill(steps.pid, signal.SIGKILL)
    exited = steps.exited()
    assert exited["signal"] == signal.SIGKILL
    assert exited["oom_hint"] is False


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group that has room for 48 MiB, of whichever version the kernel has."""
    for root, limit in ((OLD_GROUPS, "memory.limit_in_bytes"), (NEW_GROUPS, "memory.max")):
        group = root / f"xaas-test-{os.getpid()}"
        try:
            group.mkdir()
            (group / limit).write_text(str(48 << 20))
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        yield group
        until(lambda group=group: not (group / "cgroup.procs").read_text())  # type: ignore[misc]
        group.rmdir()
        return
    pytest.skip("needs the right to make a control group that limits memory")


def test_killed_by_the_kernel_for_memory(steps: "Steps", small_group: Path) -> None:
    script = "import time\nprint('up')\ntime.sleep(1)\nx = 'x' * (200 << 20)"
    steps.start(script, limits={"memory_bytes": None, "cpu_seconds": 10})
    until(lambda: steps.log_path.exists() and "up" in steps.log())
    (small_group / "cgroup.procs").write_text(str(steps.pid))
    exited = steps.exited(20)
    assert exited["signal"] == signal.SIGKILL, steps.log()
    assert exited["oom_hint"] is True
