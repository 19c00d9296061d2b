"""Which of the operating system's layers a step has around it on this machine.

A process of the runner's package puts on what a step puts on, and tells what came of it: only the
kernel knows what it grants (`xaas_runner.lockdown`).
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Final

import xaas_runner.contract

_WITHIN: Final = 10.0
"""Seconds for a process that does next to nothing, on a machine that is busy."""


async def layers() -> dict[str, str]:
    """What is in force, in words, by layer: `limits`, `itself`, `files`, `calls`.

    Empty if it can't be found out.
    """
    folder = Path(xaas_runner.contract.__file__).parent
    try:
        asked = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(folder), "layers"),
            env={},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return {}
    try:
        async with asyncio.timeout(_WITHIN):
            said, _ = await asked.communicate()
        return {str(layer): str(state) for layer, state in json.loads(said).items()}
    except (TimeoutError, ValueError, AttributeError):
        return {}
    finally:
        if asked.returncode is None:
            asked.kill()
            await asked.wait()
