"""`make demo-cluster`: the product on Kubernetes, driven by kubectl alone.

Installs the chart into the cluster of `make cluster-up`, applies the tutorial, and looks on while
one run completes and another fails and is undone. What it shows is checked: the exit code is 0 only
if both ended as they should.
"""

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from tests.cluster import chart, places, product_images
from tests.cluster.fixtures import NAMED
from tests.cluster.kubectl import program
from tests.cluster.steps import ClusterFailure, locked, say

NAMESPACE: Final = "tutorial"
FOLDER: Final = places.ROOT / "examples" / "tutorial"

OVER_WITHIN: Final = 180.0
"""Seconds for a run of 11 tasks, 11 undos: 10 times what a slow machine takes."""

AT_REST: Final = ("complete", "cancelled", "aborted")

# With bars: kubectl makes spaces of tabs.
RUN_LINE: Final = '{.status.state}|{.status.progress}|{.status.reason}{"\\n"}'
TASK_LINE: Final = (
    '{.spec.processType}|{.spec.ref}|{.spec.task}|{.status.state}|{.status.message}{"\\n"}'
)

Json = dict[str, Any]


def demo() -> None:
    """Show it. Raises ClusterFailure if a run doesn't end as it should."""
    _have_namespace()
    chart.install(_images(), {"networkPolicy": {"steps": {"namespaces": [NAMESPACE]}}})
    say("")
    _command("apply", "-f", str(_short(FOLDER)))

    say("\n1. Everything goes well")
    _show_run("complete.yaml", "complete")

    say("\n2. Task 10 fails, and what was done is undone")
    name = _show_run("rolled-back.yaml", "cancelled")
    _check_undos(name)

    say("\nBoth, as Kubernetes shows them")
    _command("get", "pipelineruns")
    _print_next(name)


def _have_namespace() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": labels}
    chart.kubectl(
        "apply", "--filename=-",
        given={"apiVersion": "v1", "kind": "Namespace", "metadata": metadata},
    )  # fmt: skip


def _images() -> Json:
    """Have the images in the cluster; gives the chart's values for them. Raises ClusterFailure."""
    service, runner = product_images.SERVICE, product_images.RUNNER
    if not os.environ.get("XAAS_TEST_KUBECONFIG"):
        with locked("images"):
            product_images.load()
        return chart.image_values(service.name, runner.name)
    try:  # into a cluster of one's own they come from where it pulls them
        return chart.image_values(os.environ[NAMED[service]], os.environ[NAMED[runner]])
    except KeyError as missing:
        raise ClusterFailure(
            f"{missing} doesn't say where your cluster has the image from."
        ) from None


def _command(*words: str) -> str:
    """Say a kubectl command, carry it out, and say what it said."""
    say(f"   $ kubectl -n {NAMESPACE} {' '.join(words)}")
    said = chart.kubectl("-n", NAMESPACE, *words)
    for line in said.splitlines():
        say(f"     {line}")
    return said


def _short(path: Path) -> Path:
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _show_run(manifest: str, wanted: str) -> str:
    """Create a run, look on until it is at rest; gives its name. Raises ClusterFailure."""
    file = _short(FOLDER / "runs" / manifest)
    made = _command("create", "-f", str(file))  # pipelinerun.xaas.dev/NAME created
    name = made.split()[0].rpartition("/")[2]
    state = _Watch(name).until_rest()
    if state != wanted:
        said = chart.kubectl(f"--namespace={NAMESPACE}", "describe", "pipelinerun", name)
        raise ClusterFailure(f"{name} should be {wanted}, and is {state or 'pending'}:\n{said}")
    return name


@dataclass
class _Watch:
    """Looks on at one run: a line for each change of it and of its task runs."""

    name: str
    _began: float = field(default_factory=time.monotonic)
    _lines: "queue.Queue[tuple[str, str]]" = field(default_factory=queue.Queue)
    _shown: dict[str, str] = field(default_factory=dict)

    def until_rest(self) -> str:
        """Its state when it is at rest, or when the time is up."""
        state = ""
        with (
            self._watching("run", RUN_LINE, f"pipelineruns/{self.name}"),
            self._watching("task", TASK_LINE, *self._task_runs()),
        ):
            while state not in AT_REST and (left := self._left()) > 0:
                try:
                    kind, line = self._lines.get(timeout=left)
                except queue.Empty:
                    break
                if kind == "run":
                    state = self._show_run(line)
                else:
                    self._show_task(line)
        self._show_rest(state)
        return state

    def _left(self) -> float:
        return self._began + OVER_WITHIN - time.monotonic()

    def _task_runs(self) -> Sequence[str]:
        path = "jsonpath={.metadata.uid}"
        words = ("get", f"pipelineruns/{self.name}", f"--output={path}")
        uid = chart.kubectl(f"--namespace={NAMESPACE}", *words)
        return ("pipelinetaskruns", f"--selector=xaas.dev/run={uid}")

    @contextmanager
    def _watching(self, kind: str, line: str, *what: str) -> Iterator[None]:
        """kubectl's own watch, which prints `line` for each change."""
        words = ["get", f"--namespace={NAMESPACE}", *what, "--watch", f"--output=jsonpath={line}"]
        command = [str(program("kubectl")), f"--kubeconfig={chart.access()}", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            reader = threading.Thread(target=self._read, args=(kind, process), daemon=True)
            reader.start()
            try:
                yield
            finally:
                process.terminate()

    def _read(self, kind: str, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put((kind, line.rstrip("\n")))

    def _show_run(self, line: str) -> str:
        state, progress, reason = line.split("|")
        # Progress alone is seen in the tasks: the run's line is for its own moves.
        self._show(f"run {self.name}", state or "pending", f"{progress} {reason}".strip())
        return state

    def _show_task(self, line: str) -> None:
        fields = line.split("|", 4)
        if len(fields) < 5:  # the further lines of a message
            return
        side, ref, task, state, message = fields
        self._show(f"  {side:<4} {ref:>2} {task}", state, message if state == "failed" else "")

    def _show(self, what: str, state: str, further: str) -> None:
        if state and state != "pending" and self._shown.get(what) != state:
            self._shown[what] = state
            passed = time.monotonic() - self._began
            say(f"   {passed:6.1f} s  {what:<28} {state:<11} {further}".rstrip())

    def _show_rest(self, state: str) -> None:
        """Show what of the task runs came later than the run's own end."""
        line = f"jsonpath={{range .items[*]}}{TASK_LINE}{{end}}"
        words = ("get", *self._task_runs(), f"--output={line}")
        for each in chart.kubectl(f"--namespace={NAMESPACE}", *words).splitlines():
            self._show_task(each)
        if state in AT_REST:
            say(f"   It is {state}, after {time.monotonic() - self._began:.1f} s.")


def _check_undos(name: str) -> None:
    """What began was undone, each after all that depends on it. Raises ClusterFailure."""
    uid = '{.metadata.uid}{"\\n"}'
    words = ("get", f"pipelineruns/{name}", f"--output=jsonpath={uid}")
    owner = chart.kubectl(f"--namespace={NAMESPACE}", *words).strip()
    listed = chart.kubectl(
        f"--namespace={NAMESPACE}", "get", "pipelinetaskruns",
        f"--selector=xaas.dev/run={owner}", "--output=yaml",
    )  # fmt: skip
    items = yaml.safe_load(listed)["items"]
    dos = {_ref(each): each["status"] for each in items if each["spec"]["processType"] == "do"}
    undos = {_ref(each): each["status"] for each in items if each["spec"]["processType"] == "undo"}
    begun = {ref for ref, status in dos.items() if status.get("startedAt")}
    undone = {ref for ref, status in undos.items() if status["state"] == "succeeded"}
    problems = [f"task {ref} wasn't undone" for ref in sorted(begun - undone)]
    entries = yaml.safe_load((FOLDER / "pipeline.yaml").read_text())["spec"]["tasks"]
    problems += [
        f"task {before} was undone before {entry['ref']}, which depends on it"
        for entry in entries
        for before in entry["dependsOn"]
        if {entry["ref"], before} <= undone
        and undos[entry["ref"]]["finishedAt"] > undos[before]["startedAt"]
    ]
    if not begun or problems:
        raise ClusterFailure("\n".join(problems) or f"nothing of {name} began")


def _ref(task_run: Json) -> str:
    return str(task_run["spec"]["ref"])


def _print_next(name: str) -> None:
    binaries = places.State.here().binaries
    rows = [
        ("kubectl get pl,plt,plr,pltr -A", "all there is"),
        (f"kubectl describe plr {name} -n {NAMESPACE}", "why it failed"),
        (f"kubectl create -f {_short(FOLDER)}/runs/complete.yaml -n {NAMESPACE}", "another run"),
        (f"helm test {chart.RELEASE} -n {chart.NAMESPACE}", "a run over REST"),
        ("make cluster-down", "end the cluster"),
    ]
    say("\nHow to go on")
    say(f"   export KUBECONFIG={chart.access()}")
    if binaries.is_dir():
        say(f"   export PATH={binaries}:$PATH")
    width = max(len(command) for command, _ in rows)
    for command, text in rows:
        say(f"   {command:<{width}}   {text}")


def main() -> int:
    """Show it; gives the exit code."""
    try:
        with locked("demo"):
            demo()
    except ClusterFailure as failure:
        print(f"\nThe demo didn't end as it should: {failure}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What runs goes on; `make cluster-down` ends it.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
