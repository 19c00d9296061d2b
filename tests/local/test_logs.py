"""Runners' logs as files."""

import pytest
from tests.local.conftest import RUN

from xaas_core.engine.states import Side
from xaas_core.ports import RunnerKey
from xaas_local.data import DataDir
from xaas_local.logs import FileLogs, log_path

pytestmark = pytest.mark.anyio

RUNNER = RunnerKey(RUN, "a", Side.DO, 1, 1)


async def read(data: DataDir, offset: int, step: int = 0) -> bytes:
    return b"".join([part async for part in FileLogs(data).read(RUNNER, step, offset)])


async def test_a_log_is_read_from_anywhere(data: DataDir) -> None:
    path = log_path(data, RUNNER, 0)
    path.parent.mkdir()
    content = bytes(range(256)) * 4096
    path.write_bytes(content)
    for offset in (0, 1, 262_144, len(content) - 1, len(content), len(content) + 9):
        assert await read(data, offset) == content[offset:]
    with path.open("ab") as file:
        file.write(b"more")
    assert await read(data, len(content)) == b"more"


async def test_no_log_is_an_empty_one(data: DataDir) -> None:
    assert await read(data, 0) == b""
    assert await read(data, 5, step=7) == b""


async def test_logs_of_attempts_and_sides_are_apart(data: DataDir) -> None:
    runners = [
        RunnerKey(RUN, ref, side, n, m)
        for ref in "ab"
        for side in Side
        for n, m in ((1, 1), (1, 2), (2, 1))
    ]
    assert len({log_path(data, runner, step) for runner in runners for step in (0, 1)}) == 24
