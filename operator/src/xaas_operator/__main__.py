"""The operator: `python -m xaas_operator --config FILE`.

`--release` lets go of all runs instead, and ends: for the chart's hook before an uninstall.
"""

import argparse
import asyncio
import logging
import os
import socket
import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xaas_core.ports import Unavailable
from xaas_core.serving import SIGNALS, StartError, new_loop, until_told, write_log
from xaas_kube.client import ApiError, Unreachable
from xaas_kube.lease import Lost
from xaas_operator.release import release_all
from xaas_operator.replica import Place, Replica, own_namespace
from xaas_operator.settings import Settings, SettingsError

log = logging.getLogger("xaas_operator")


async def serve(settings: Settings, place: Place) -> None:
    """Work until SIGTERM or SIGINT. Raises StartError, Lost."""
    stop = asyncio.Event()

    def take_signals() -> None:
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)

    take_signals()
    async with Replica(settings, replace(place, take_signals=take_signals)) as replica:
        log.info("the operator %s is ready", place.identity)
        await until_told(stop, replica.failed())


def main(argv: Sequence[str] | None = None) -> int:
    """Work as the arguments say; the answer is the exit code."""
    parser = argparse.ArgumentParser(prog="python -m xaas_operator", description="The operator.")
    add = parser.add_argument
    add("--config", type=Path, help="file with the settings")
    add("--release", action="store_true", help="let go of all runs, and end")
    add("--kubeconfig", type=Path, help="access to the cluster from outside of it")
    add("--gateway", default="", help="what runners call, if it isn't the Service")
    add("--probes-port", type=int, default=8081, help="port of probes and metrics")
    given = parser.parse_args(argv)
    write_log()
    try:
        with asyncio.Runner(loop_factory=new_loop()) as runner:
            if given.release:
                released = runner.run(release_all(given.kubeconfig))
                sys.stdout.write(f"let go of {released} runs\n")
                return 0
            if given.config is None:
                parser.error("--config is missing")
            settings = Settings.read(given.config)
            write_log(settings.log_level)
            place = Place(
                namespace=own_namespace(settings),
                identity=_identity(),
                kubeconfig=given.kubeconfig,
                gateway=given.gateway,
                probes_port=given.probes_port,
            )
            runner.run(serve(settings, place))
    except (StartError, SettingsError, ApiError, Unreachable, Unavailable, Lost) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _identity() -> str:
    """What no other replica is called, not even this one before a restart."""
    name = os.environ.get("POD_NAME") or socket.gethostname()
    return f"{name}_{uuid.uuid4().hex[:8]}"


if __name__ == "__main__":
    sys.exit(main())
