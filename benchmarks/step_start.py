"""How long a step takes to its first line: a process as a step's container starts it, on this machine.

From the start of the process: interpreter, sandbox, lockdown, the script from a gateway that does nothing
else. What a container runtime adds before it isn't in it.
"""

import asyncio
import statistics
import sys
import time
from functools import partial

from benchmarks import toy_gateway
from benchmarks.bound import RUNNER, SITE_PACKAGES
from benchmarks.toy_gateway import Json

from xaas_runner.contract import FINISH_PATH, Environment

SCRIPT = "import time\nparams['at'] = time.time()"


async def measure(turns: int) -> float:
    """Median seconds from the start of a step's process to its script's first line."""
    first_lines: asyncio.Queue[float] = asyncio.Queue()

    def answer(path: str, token: str, said: Json) -> Json:
        if path != FINISH_PATH:
            return toy_gateway.go(token, SCRIPT)
        first_lines.put_nowait(said["delta"][0]["value"])
        return {"answer": "recorded", "next": False}

    server = await asyncio.start_server(partial(toy_gateway.serve, answer=answer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    told = {Environment.GATEWAY: f"http://127.0.0.1:{port}", Environment.TOKEN: "t"}
    environment = {str(name): value for name, value in {**told, Environment.STEP: "0"}.items()}
    paths = [part for entry in SITE_PACKAGES for part in ("--path", entry)]
    taken = []
    async with server:
        for _ in range(turns + 1):
            started = time.time()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(RUNNER), "step", *paths), env=environment
            )
            taken.append(await first_lines.get() - started)
            await process.wait()
    return statistics.median(taken[1:])  # the first of all finds nothing in any cache
