"""Examples are run as their READMEs say, on a real server, with their own simulated services."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from xaas_cli import demo
from xaas_cli.apply import apply
from xaas_cli.client import Api
from xaas_cli.documents import load

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE_S = 30.0

Json = dict[str, Any]


class Product:
    """A server, and what the tests of examples do with it."""

    def __init__(self, api: Api) -> None:
        self.api = api

    def apply(self, name: str) -> None:
        """Apply an example's files."""
        for each in apply(self.api, load([str(EXAMPLES / name)])):
            assert not each.problems, each.problems

    def run(self, name: str, parameters: Json, **further: Any) -> "Run":
        """Run a pipeline until it is at rest."""
        made = self.api.create_run({"name": name, "parameters": parameters, "run": True, **further})
        return Run(self.api, made["instance_id"]).settle()

    def runs(self, name: str) -> list["Run"]:
        """The runs of a pipeline, newest first."""
        found = self.api.items("pipelineruns", {"pipeline": name})
        return [Run(self.api, run["instance_id"]) for run in found]


class Run:
    """A run as it is shown by REST; read anew by `settle`."""

    def __init__(self, api: Api, id: str) -> None:
        self.api = api
        self.id = id
        self.settle()

    def settle(self) -> "Run":
        """Wait until it is at rest."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self.shown = self.api.run(self.id)
            if (
                self.status in ("complete", "cancelled", "aborted")
                and not self.shown["tasks"]["running"]
            ):
                break
            assert time.monotonic() < deadline, f"still {self.status}"
            time.sleep(0.02)
        self.tasks = {(task["ref"], task["process_type"]): task for task in self.api.tasks(self.id)}
        return self

    def operate(self, operation: str) -> "Run":
        """Ask for an operation and wait until the run is at rest again."""
        self.api.operate(self.id, operation)
        return self.settle()

    @property
    def status(self) -> str:
        return str(self.shown["status"])

    def states(self, side: str = "do") -> dict[str, str]:
        """State of each task run of a side, by ref."""
        return {ref: task["status"] for (ref, its), task in self.tasks.items() if its == side}

    def error(self, ref: str) -> str:
        """Message of a task's error."""
        return str(self.tasks[ref, "do"]["error"]["message"])

    def undone(self) -> list[str]:
        """Refs whose undo succeeded, in the order in which they began."""
        begun = [
            (task["started_at"], ref)
            for (ref, side), task in self.tasks.items()
            if side == "undo" and task["status"] == "succeeded"
        ]
        return [ref for _, ref in sorted(begun)]

    def undone_before(self, first: str, then: str) -> bool:
        """Whether the undo of `first` had ended when that of `then` began."""
        ended, began = self.tasks[first, "undo"], self.tasks[then, "undo"]
        return bool(ended["finished_at"] <= began["started_at"])

    def delta(self, ref: str, side: str = "do") -> dict[str, Any]:
        """What a task run set, by path; deleted paths are None."""
        return {
            ".".join(op["path"]): op.get("value")
            for op in self.tasks[ref, side]["delta"]
            if op["op"] != "order"
        }

    def log(self, ref: str, side: str = "do") -> list[str]:
        """The messages of a task run's log."""
        lines = self.api.lines(f"/pipelineruns/{self.id}/tasks/{ref}/{side}/logs")
        return [re.sub(r"^\S+Z [A-Z]+ ", "", line) for line in lines]


@pytest.fixture(scope="session")
def product() -> Iterator[Product]:
    with (
        tempfile.TemporaryDirectory(prefix="xaas-") as data,
        demo.server(Path(data)) as address,
        Api(address) as api,
    ):
        yield Product(api)


@contextmanager
def service(script: Path, *options: str) -> Iterator[str]:
    """An example's own server, on a free port; gives its address."""
    command = [sys.executable, str(script), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            yield said.split()[-1]
        finally:
            process.terminate()


@pytest.fixture
def inventory() -> Iterator[str]:
    with service(EXAMPLES / "callout" / "server.py", "--delay", "0.2") as address:
        yield address


@pytest.fixture
def devices() -> Iterator[str]:
    with service(EXAMPLES / "network-change" / "devices.py") as address:
        yield address
