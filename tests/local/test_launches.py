"""The journal of launches, and what their slots tell."""

import fcntl
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.local.conftest import RUN

from xaas_core.engine.states import Reason, Side
from xaas_core.ports import RunnerKey
from xaas_local import launches as module
from xaas_local.data import DataDir
from xaas_local.launches import Launches, LaunchState, Stage, Trace

PID = 9_999_999_999
"""No process has it."""

OTHER = "0a4e1d7f-0d8a-4c58-9a3c-8b3c5f0e5a10"


def launch(number: int, slot: int = 0, run: str = RUN) -> LaunchState:
    steps = (0, 1, 2)
    return LaunchState(RunnerKey(run, "a", Side.DO, number, 1), steps, "token", 1, 1, slot=slot)


def failed(state: LaunchState) -> LaunchState:
    return replace(state, stage=Stage.OVER, reason=Reason.OUT_OF_MEMORY, message="killed")


@pytest.fixture
def launches(data: DataDir) -> Iterator[Launches]:
    made = Launches(data)
    assert made.open() == []
    yield made
    made.close()


def known(data: DataDir) -> list[LaunchState]:
    """What the next server finds."""
    following = Launches(data)
    try:
        return following.open()
    finally:
        following.close()


def journal(data: DataDir) -> str:
    return (data.runners / "journal").read_text()


def test_what_is_noted_is_known(launches: Launches, data: DataDir) -> None:
    first, second, third = (launch(number, slot=number) for number in (1, 2, 3))
    for state in (first, second, third, failed(first)):
        launches.note(state)
    assert known(data) == [second, third, failed(first)]
    assert known(data) == [second, third, failed(first)]


def test_a_launch_that_has_its_slot_shows_that_another_is_over(
    launches: Launches, data: DataDir
) -> None:
    for number in (1, 2, 3):
        launches.note(launch(number))
        launches.note(launch(number, slot=1, run=OTHER))
    assert known(data) == [launch(3), launch(3, slot=1, run=OTHER)]


def test_an_end_that_says_something_outlives_the_slot(launches: Launches, data: DataDir) -> None:
    launches.note(launch(1))
    launches.note(failed(launch(1)))
    launches.note(launch(2))
    launches.note(replace(launch(2), stage=Stage.OVER))
    launches.note(launch(3))
    assert known(data) == [failed(launch(1)), launch(3)]


def test_a_removed_run_leaves_nothing(launches: Launches, data: DataDir) -> None:
    launches.note(launch(1))
    launches.note(failed(launch(1)))
    launches.note(launch(2, slot=1))
    launches.note(launch(1, slot=2, run=OTHER))
    launches.forget(RUN)
    assert known(data) == [launch(1, slot=2, run=OTHER)]
    assert RUN not in journal(data)


def test_a_torn_last_line_spoils_neither_what_was_there_nor_what_follows(
    launches: Launches, data: DataDir, caplog: pytest.LogCaptureFixture
) -> None:
    launches.note(launch(1))
    whole = journal(data)
    launches.note(launch(2, slot=1))
    after = journal(data)
    for length in range(len(whole) + 2, len(after)):
        (data.runners / "journal").write_text(after[:length])
        torn = Launches(data)
        assert torn.open() == [launch(1)]
        torn.note(launch(3, slot=1))
        torn.close()
        assert known(data) == [launch(1), launch(3, slot=1)]
    assert len(caplog.messages) == len(after) - len(whole) - 2


def test_a_line_that_found_no_room_spoils_none_that_follows(
    launches: Launches, data: DataDir
) -> None:
    launches.note(launch(1))
    with (data.runners / "journal").open("a") as file:
        file.write('\n{"launch":{"runner"')
    launches.note(launch(2, slot=1))
    assert known(data) == [launch(1), launch(2, slot=1)]


def test_lines_that_mean_nothing_are_left_out(
    launches: Launches, data: DataDir, caplog: pytest.LogCaptureFixture
) -> None:
    launches.note(launch(1))
    with (data.runners / "journal").open("ab") as file:
        file.write(b'\n{"what":1}\n[]\n"x"\n\xff\xfe\n{"launch":{"runner":{}}}\n\0\0\0')
    launches.note(launch(2, slot=1))
    assert known(data) == [launch(1), launch(2, slot=1)]
    assert sum("can't be read and is left out" in text for text in caplog.messages) == 6


def test_it_is_written_anew_when_most_of_it_is_of_no_use(
    launches: Launches, data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPARE_LINES", 20)
    launches.close()
    launches.open()
    launches.note(launch(1, slot=7))
    launches.note(failed(launch(1, slot=7)))
    launches.note(launch(2, slot=7))
    most = 0
    for number in range(3, 500):
        launches.note(launch(number))
        most = max(most, journal(data).count("\n"))
    assert 20 <= most < 40
    assert known(data) == [failed(launch(1, slot=7)), launch(2, slot=7), launch(499)]
    assert (data.runners / "journal").stat().st_mode & 0o777 == 0o600


def test_ended_launches_arent_kept_for_ever(
    launches: Launches, data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_ENDED", 3)
    for number in range(1, 10):
        launches.note(launch(number))
        launches.note(failed(launch(number)))
    launches.note(launch(10))
    following = Launches(data)
    following.open()
    following.close()
    assert known(data) == [failed(launch(7)), failed(launch(8)), failed(launch(9)), launch(10)]


def test_where_it_cant_be_written_anew_it_goes_on_growing(
    launches: Launches, data: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPARE_LINES", 5)
    launches.close()
    launches.open()
    (data.runners / "journal.new").mkdir()
    for number in range(1, 30):
        launches.note(launch(number))
    (data.runners / "journal.new").rmdir()
    assert known(data) == [launch(29)]


WRITER = """
import sys
from pathlib import Path
from tests.local.test_launches import failed, launch
from xaas_local import launches as module
from xaas_local.data import DataDir

module.SPARE_LINES = 30
launches = module.Launches(DataDir.open(Path(sys.argv[1])))
launches.open()
for number in range(1, 1_000_000):
    state = launch(number, slot=number % 3)
    launches.note(state)
    if number % 50 == 0:
        launches.note(failed(state))
    print(number, flush=True)
"""


@pytest.mark.parametrize("lines", random.Random(7).sample(range(1, 900), 6))
def test_what_was_noted_survives_sigkill(folder: Path, lines: int) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, folder / "data"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as process:
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.kill()
        told = lines + sum(line.endswith("\n") for line in process.stdout)
    data = DataDir.open(folder / "data")
    states = known(data)
    data.close()
    numbers = {state.runner.attempt for state in states if state.stage is Stage.LIVE}
    newest = max(state.runner.attempt for state in states)  # live or, each fiftieth, over already
    assert newest in (told, told + 1)  # one may have been noted and not told
    assert numbers - {newest} <= {newest - 1, newest - 2}
    gone = {newest, newest - 1, newest - 2} - numbers - {0, -1}
    assert all(number % 50 == 0 for number in gone)
    ended = [state.runner.attempt for state in states if state.stage is Stage.OVER]
    assert set(range(50, told, 50)) <= set(ended)


def sign(launches: Launches, state: LaunchState, text: str) -> Path:
    path = launches.lock_path(state)
    path.write_text(text)
    return path


def test_a_slot_tells_of_its_own_process_only(launches: Launches) -> None:
    earlier, state = launch(1), launch(2)
    assert launches.trace(state) == Trace()
    for signed in ("", f" {PID}", f" {PID} 0", f" {PID} 10"):
        sign(launches, state, f"{earlier.process}{signed}\n")
        assert launches.trace(state) == Trace()
    # An earlier step's of the same launch, too; and what is left behind the first line.
    sign(launches, state, f"{state.name}.1 {PID} 0\n")
    assert launches.trace(state) == Trace()
    for signed, pid, code in (("", None, None), (f" {PID}", PID, None), (f" {PID} 143", PID, 143)):
        sign(launches, state, f"{state.process}{signed}\nxaas-older.0 99999 0\n99 0\n")
        assert launches.trace(state) == Trace(False, state.process, pid, code)


@pytest.mark.parametrize(
    "text", ["", "\n", "\0" * 64, f"{PID} 0\n", "x y z\n", "{process} 1 0", "é\n"]
)
def test_a_slot_that_says_nothing_clear(launches: Launches, text: str) -> None:
    state = launch(1)
    sign(launches, state, text.format(process=state.process))
    assert launches.trace(state) == Trace()


def test_a_slot_that_is_held(launches: Launches) -> None:
    state = launch(2)
    path = sign(launches, state, f"{state.process} {PID}\n")
    with path.open("r+") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        assert launches.trace(state) == Trace(True, state.process, PID)
        # By another process: it isn't this launch's, which has none yet.
        path.write_text(f"{launch(1).process} {PID}\n")
        assert launches.trace(state) == Trace()


def test_the_step_is_the_one_that_its_slot_was_taken_for(launches: Launches, data: DataDir) -> None:
    state = launch(1)
    launches.note(state)
    for step in (0, 1, 2):
        sign(launches, state, f"{state.name}.{step} {PID} 0\n")
        (found,) = known(data)
        assert found.step == step
    sign(launches, state, f"{launch(2).name}.1 {PID} 0\n")
    assert known(data) == [state]
