"""Runners' logs as files."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from xaas_core.names import runner_id
from xaas_core.ports import RunnerKey
from xaas_local.data import DataDir

_CHUNK: Final = 256 * 1024


def log_path(data: DataDir, runner: RunnerKey, step: int) -> Path:
    """The file that a step's log is written to."""
    name = runner_id(runner.run, runner.ref, runner.side, runner.attempt, runner.launch)
    return data.logs / runner.run / f"{name}.{step}.log"


class FileLogs:
    """Implements `xaas_core.ports.Logs`."""

    def __init__(self, data: DataDir) -> None:
        self._data = data

    async def read(
        self, runner: RunnerKey, step: int, offset: int, *, ended: bool = False
    ) -> AsyncIterator[bytes]:
        """See the port. Ends where the log ends now: to follow it, read on from there."""
        path = log_path(self._data, runner, step)
        while chunk := await asyncio.to_thread(_read_at, path, offset):
            offset += len(chunk)
            yield chunk


def _read_at(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, offset))
            return file.read(_CHUNK)
    except FileNotFoundError:
        return b""
