"""The commands against a real server."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

Xaas = Callable[..., Any]

CHAIN = """\
category: t
name: {name}-ok
steps:
  - doScript: |
      params.setdefault("seen", []).append(context.ref)
      logger.info(f"did {{context.ref}}")
    undoScript: |
      logger.info(f"undid {{context.ref}}")
---
category: t
name: {name}-gate
steps:
  - doScript: |
      await asyncio.sleep(params.get("wait", 0))
      logger.info("through the gate")
      if params.get("break"):
          raise ValueError(f"told to \\x1b[31mbreak")
    undoScript: |
      print("gate undone")
---
category: t
name: {name}
tasks:
  - {{ref: a, name: {name}-ok, dependsOn: []}}
  - {{ref: b/b, name: {name}-gate, dependsOn: [a]}}
  - {{ref: c, name: {name}-ok, dependsOn: [b/b], condition: not params.get("skip")}}
"""


@pytest.fixture
def chain(xaas: Xaas, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A pipeline a → b/b → c of this test's own, applied; its name."""
    name = "p-" + re.sub(r"\W", "-", request.node.name)[:60]
    file = tmp_path / "chain.yaml"
    file.write_text(CHAIN.format(name=name))
    ended = xaas("apply", "-f", str(file))
    assert ended.out.splitlines() == [
        f"pipelinetask/{name}-ok created",
        f"pipelinetask/{name}-gate created",
        f"pipeline/{name} created",
    ]
    assert ended.code == 0
    return name


def shown(xaas: Xaas, id: str) -> dict[str, Any]:
    run: dict[str, Any] = json.loads(xaas("get", "run", id, "-o", "json").out)
    return run


def until(xaas: Xaas, id: str, *states: str) -> str:
    """Wait until the run is in one of the states."""
    deadline = time.monotonic() + 20
    while (state := shown(xaas, id)["status"]) not in states:
        assert time.monotonic() < deadline, f"{id} is {state}, not {states}"
        time.sleep(0.02)
    return str(state)


def until_tasks(xaas: Xaas, id: str, **counts: int) -> None:
    """Wait until the run has that many tasks in those states."""
    deadline = time.monotonic() + 20
    while not counts.items() <= (tasks := shown(xaas, id)["tasks"]).items():
        assert time.monotonic() < deadline, f"{id} has {tasks}, not {counts}"
        time.sleep(0.02)


def changes(out: str) -> list[str]:
    """The lines of a watched run, without their times."""
    return [
        " ".join(re.sub(r"  \d[\d.]* (ms|s)\b", "", line).split()[1:])
        for line in out.splitlines()
        if re.match(r"\d\d:\d\d:\d\d\.\d{3}  ", line)
    ]


class TestApply:
    def test_again_nothing_changes_and_an_edit_is_written(
        self, xaas: Xaas, chain: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "chain.yaml"
        again = xaas("apply", "-f", str(file))
        assert [line.split()[-1] for line in again.out.splitlines()] == ["unchanged"] * 3
        file.write_text(file.read_text().replace("through", "behind"))
        edited = xaas("apply", "-f", str(tmp_path))
        assert [line.split()[-1] for line in edited.out.splitlines()] == [
            "unchanged",
            "configured",
            "unchanged",
        ]
        assert "behind the gate" in xaas("describe", "plt", f"{chain}-gate").out

    def test_what_get_prints_as_yaml_can_be_applied(
        self, xaas: Xaas, chain: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "got.yaml"
        file.write_text(xaas("get", "pipeline", chain, "-o", "yaml").out)
        assert xaas("apply", "-f", str(file)).out == f"pipeline/{chain} unchanged\n"

    def test_refusals_name_the_line_and_runs_are_left_out(self, xaas: Xaas, tmp_path: Path) -> None:
        file = tmp_path / "bad.yaml"
        file.write_text(
            "name: bad-run\nparameters: {}\n---\n"
            "category: x\nname: bad-task\nsteps:\n  - doScript: |\n      a = 1\n      import os\n---\n"
            "category: x\nname: fine-task\nsteps: []\n---\n"
            "category: x\nname: bad-cycle\ntasks:\n"
            "  - {ref: a, name: t, dependsOn: [b]}\n  - {ref: b, name: t, dependsOn: [a]}\n"
        )
        ended = xaas("apply", "-f", str(file))
        assert ended.code == 1
        assert ended.out == "pipelinetask/fine-task created\n"
        task, cycle, run = ended.err.splitlines()
        assert task.startswith(
            f"{file}:9: document 2 (PipelineTask bad-task): steps[0].doScript, line 2: "
        )
        assert "os" in task
        assert cycle.startswith(f"{file}:18: document 4 (Pipeline bad-cycle): tasks[0]")
        assert "a -> b -> a" in cycle
        assert run == (
            f"{file}:1: document 1 (PipelineRun bad-run): not created, because a definition was "
            "refused"
        )

    def test_nothing_is_applied_if_a_file_cannot_be_read(self, xaas: Xaas, tmp_path: Path) -> None:
        (tmp_path / "1.yaml").write_text("{category: x, name: never-applied, steps: []}")
        (tmp_path / "2.yaml").write_text("a: [")
        assert xaas("apply", "-f", str(tmp_path)).code == 2
        missing = xaas("get", "task", "never-applied")
        assert missing.code == 1
        assert "never-applied" in missing.err

    def test_a_named_run_is_created_once(self, xaas: Xaas, chain: str, tmp_path: Path) -> None:
        file = tmp_path / "run.yaml"
        text = (
            "apiVersion: xaas.dev/v1alpha1\nkind: PipelineRun\nmetadata: {name: NAME}\n"
            "spec: {name: PIPELINE, parameters: {}, operation: {name: run, id: x}}\n"
        )
        file.write_text(text.replace("NAME", f"run-of-{chain}").replace("PIPELINE", chain))
        first, second = xaas("apply", "-f", str(file)), xaas("apply", "-f", str(file))
        assert first.out.endswith("created\n")
        assert second.out == first.out.replace(") created", ") unchanged")
        id = first.out.partition("(")[2].partition(")")[0]
        until(xaas, id, "complete")
        file.write_text(file.read_text().replace("parameters: {}", "parameters: {a: 1}"))
        other = xaas("apply", "-f", str(file))
        assert other.code == 1
        assert "was applied with other content; a run can't be changed" in other.err


class TestWatch:
    def test_a_run_that_completes(self, xaas: Xaas, chain: str) -> None:
        ended = xaas("run", chain, "-p", "skip:=true", "--watch")
        assert changes(ended.out) == [
            f"● run {chain} processing",
            f"● do a {chain}-ok running",
            f"✔ do a {chain}-ok succeeded",
            f"● do b/b {chain}-gate running",
            f"✔ do b/b {chain}-gate succeeded",
            f"– do c {chain}-ok skipped ConditionFalse",
            f"✔ run {chain} complete",
        ]
        assert ended.out.endswith("The run is ✔ complete\n")
        assert ended.code == 0

    def test_a_run_that_fails_and_is_undone(self, xaas: Xaas, chain: str) -> None:
        ended = xaas("run", chain, "-p", "break=yes", "--watch")
        seen = changes(ended.out)
        error = r"ValueError: told to \x1b[31mbreak (step 0, line 4)"
        assert seen[4] == f"✘ do b/b {chain}-gate failed {error}"
        assert seen[5:7] == [f"✘ run {chain} aborted", f"↺ run {chain} cancelling"]
        assert seen[-1] == f"↩ run {chain} cancelled TaskFailed"
        undone = [line.split()[2] for line in seen if line.startswith("✔ undo ")]
        assert undone == ["b/b", "a"]
        assert "is ↩ cancelled (TaskFailed); 2 tasks undone, in this order: b/b a" in ended.out
        assert ended.code == 1

    def test_it_rests_in_aborted_until_somebody_decides(self, xaas: Xaas, chain: str) -> None:
        ended = xaas("run", chain, "-p", "break=yes", "--no-auto-rollback", "--watch")
        assert ended.code == 1
        id = re.search(r"xaas recovery (\S+)", ended.out)
        assert id is not None
        again = xaas("recovery", id[1], "--watch")
        assert again.code == 1
        assert "The run is ✘ aborted (TaskFailed)" in again.out
        undone = xaas("cancel", id[1], "--watch")
        assert undone.code == 0
        assert "cancelled (TaskFailed); 2 tasks undone" in undone.out

    def test_rollback_of_a_complete_run(self, xaas: Xaas, chain: str) -> None:
        id = xaas("run", chain, "-q").out.strip()
        assert xaas("watch", id).code == 0
        assert xaas("watch", id).code == 0  # also of one that is over
        ended = xaas("rollback", id[:13], "--watch")
        assert ended.code == 0
        assert "3 tasks undone, in this order: c b/b a" in ended.out

    def test_on_a_terminal_it_is_a_picture(self, xaas: Xaas, chain: str, server: str) -> None:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "xaas_cli", "run", chain, "-p", "wait:=0.3", "--watch"]
        environment = {**os.environ, "XAAS_SERVER": server, "TERM": "xterm", "COLUMNS": "150"}
        with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as watching:
            os.close(theirs)
            drawn = b""
            with contextlib.suppress(OSError):  # Linux says so when the other end is closed
                while some := os.read(ours, 65536):
                    drawn += some
            os.close(ours)
            assert watching.wait(10) == 0
        frames = drawn.decode().split("\x1b[1A")
        plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame) for frame in frames]
        assert any(f"● {' '} b/b {chain}-gate" in frame for frame in plain)
        assert f"✔   c   {chain}-ok   ← b/b" in plain[-1]
        assert "The run is ✔ complete" in plain[-1]

    def test_ctrl_c_leaves_the_run_going(self, xaas: Xaas, chain: str, server: str) -> None:
        command = [sys.executable, "-m", "xaas_cli", "run", chain, "-p", "wait:=4", "--watch"]
        watching = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XAAS_SERVER": server},
            # Who runs in the background of a shell has it ignored, and so would this.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        with watching:
            assert watching.stdout is not None
            lines = iter(watching.stdout.readline, "")
            next(line for line in lines if "b/b" in line and "running" in line)
            watching.send_signal(signal.SIGINT)
            rest = watching.stdout.read()
            assert watching.wait(10) == 130
        said = re.search(r"The run goes on. Watch it again:  xaas watch (\S+)", rest)
        assert said is not None
        assert xaas("watch", said[1]).code == 0

    def test_a_run_that_is_deleted_meanwhile(self, xaas: Xaas, chain: str, server: str) -> None:
        id = xaas("run", chain, "-p", "wait:=20", "-q").out.strip()
        watching = subprocess.Popen(
            [sys.executable, "-m", "xaas_cli", "watch", id],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XAAS_SERVER": server},
        )
        with watching:
            assert watching.stdout is not None
            assert watching.stderr is not None
            watching.stdout.readline()
            busy = xaas("delete", "run", id)
            assert busy.code == 1
            assert "--force" in busy.err or "force=true" in busy.err
            assert xaas("delete", "run", id, "--force").code == 0
            assert watching.wait(20) == 1
            assert f"The run {id} was deleted" in watching.stderr.read()


class TestRuns:
    def test_pending_start_suspend_resume(self, xaas: Xaas, chain: str) -> None:
        made = xaas("run", chain, "--pending", "--suspend")
        id = made.out.split()[0]
        assert "pending" in made.out
        assert "processing" in xaas("start", id).out
        time.sleep(0.1)
        assert shown(xaas, id)["tasks"]["running"] == 0
        assert "resumed" in xaas("resume", id).out
        until(xaas, id, "complete")

    def test_suspend_holds_what_is_next(self, xaas: Xaas, chain: str) -> None:
        id = xaas("run", chain, "-p", "wait:=3", "-q").out.strip()
        # Only once b runs: a suspension that comes before holds b, not c.
        until_tasks(xaas, id, succeeded=1, running=1)
        assert "suspended" in xaas("suspend", id).out
        until_tasks(xaas, id, succeeded=2)
        time.sleep(0.2)
        held = shown(xaas, id)
        assert (held["status"], held["tasks"]["pending"]) == ("processing", 1)
        xaas("resume", id)
        until(xaas, id, "complete")

    def test_what_the_state_does_not_allow_is_said(self, xaas: Xaas, chain: str) -> None:
        id = xaas("run", chain, "-q").out.strip()
        until(xaas, id, "complete")
        ended = xaas("cancel", id)
        assert ended.code == 1
        assert "complete" in ended.err
        assert "rollback" in ended.err

    def test_parameters_from_a_file_and_the_command_line(
        self, xaas: Xaas, chain: str, tmp_path: Path
    ) -> None:
        file = tmp_path / "p.yaml"
        file.write_text("mac: 10:11:12:13:14:15\nsites: [a, b]\nlevel: 1\n")
        made = xaas("run", chain, "--parameters", str(file), "-p", "level:=2.5", "-q")
        assert shown(xaas, made.out.strip())["parameters"] == {
            "mac": "10:11:12:13:14:15",
            "sites": ["a", "b"],
            "level": 2.5,
        }

    def test_an_unknown_pipeline(self, xaas: Xaas) -> None:
        ended = xaas("run", "no such/pipeline")
        assert ended.code == 1
        assert "no such/pipeline" in ended.err

    def test_a_part_of_an_id_that_is_not_unique(self, xaas: Xaas, chain: str) -> None:
        ids = [xaas("run", chain, "--pending", "-q").out.strip() for _ in range(17)]
        # With 17 ids two begin alike: there are 16 digits.
        firsts = [id[0] for id in ids]
        twice = next(first for first in firsts if firsts.count(first) > 1)
        ended = xaas("get", "run", twice)
        assert ended.code == 1
        assert f"begin with '{twice}'; write more of it" in ended.err
        assert "No run's id begins with 'zz'" in xaas("get", "run", "zz").err
        for id in ids:
            xaas("cancel", id)
        assert xaas("delete", "run", *ids).code == 0
        assert xaas("get", "runs", "--pipeline", chain).out == ""


class TestLooking:
    def test_tables(self, xaas: Xaas, chain: str) -> None:
        id = xaas("run", chain, "-q").out.strip()
        until(xaas, id, "complete")
        tasks = xaas("get", "plt", "--category", "t").out.splitlines()
        assert tasks[0].split() == ["NAME", "CATEGORY", "STEPS", "UNDOS", "AGE"]
        assert any(line.split()[:4] == [f"{chain}-ok", "t", "1", "1"] for line in tasks)
        pipelines = xaas("get", "pl").out.splitlines()
        assert any(line.split()[:3] == [chain, "t", "3"] for line in pipelines)
        heading, run = xaas(
            "get", "runs", "--pipeline", chain, "--status", "complete"
        ).out.splitlines()
        assert heading.split() == ["ID", "PIPELINE", "STATE", "TASKS", "DURATION", "AGE", "REASON"]
        assert run.split()[:5] == [id[:8], chain, "✔", "complete", "3/3"]
        assert run == run.rstrip()

    def test_json_is_the_servers_own(self, xaas: Xaas, chain: str) -> None:
        listed = json.loads(xaas("get", "pipelines", "-o", "json", "--limit", "1").out)
        assert len(listed["items"]) == 1
        one = json.loads(xaas("get", "pipeline", chain, "-o", "json").out)
        assert one["name"] == chain
        assert one["resource_version"]

    def test_describe_shows_the_line_that_failed(self, xaas: Xaas, chain: str) -> None:
        id = xaas("run", chain, "-p", "break=yes", "-q").out.strip()
        until(xaas, id, "cancelled")
        lines = xaas("describe", "run", id).out.splitlines()
        assert any(line.startswith("State:") and "cancelled  TaskFailed" in line for line in lines)
        [failed] = [line for line in lines if line.startswith("b/b ")]
        assert failed.split()[1:6] == [f"{chain}-gate", "✘", "failed", "(ScriptError)", "1"]
        [marked] = [line for line in lines if line.startswith("  →")]
        assert marked == '  →   4      raise ValueError(f"told to \\x1b[31mbreak")'
        described = xaas("describe", "pipeline", chain).out.splitlines()
        assert described[-1].split()[:4] == ["2", "c", f"{chain}-ok", "b/b"]

    def test_logs(self, xaas: Xaas, chain: str) -> None:
        id = xaas("run", chain, "-q").out.strip()
        until(xaas, id, "complete")
        everything = xaas("logs", id).out
        assert re.findall(r"^== (\S+) ", everything, re.MULTILINE) == ["a", "b/b", "c"]
        assert re.fullmatch(r"\S+Z INFO through the gate\n", xaas("logs", id, "b/b").out)
        assert xaas("logs", id, "b/b", "--step", "1").out == ""
        xaas("rollback", id, "--watch")
        assert xaas("logs", id, "b/b", "--undo").out == "gate undone\n"
        missing = xaas("logs", id, "z")
        assert missing.code == 1
        assert "'z'" in missing.err

    def test_logs_as_they_come(self, xaas: Xaas, chain: str) -> None:
        id = xaas("run", chain, "-p", "wait:=0.3", "-q").out.strip()
        one = xaas("logs", id, "b/b", "--follow")
        assert one.out.endswith("INFO through the gate\n")
        all_of = xaas("logs", id, "--follow").out
        assert sorted(line.split(" | ")[0] for line in all_of.splitlines()) == ["a", "b/b", "c"]

    def test_events_of_a_run(self, xaas: Xaas, chain: str) -> None:
        id = xaas("run", chain, "-q").out.strip()
        until(xaas, id, "complete")
        events = [
            json.loads(line) for line in xaas("events", "--run", id, "-o", "json").out.splitlines()
        ]
        assert [event["sequence"] for event in events] == list(range(1, 9))
        assert events[-1]["content"]["status"] == "complete"
        lines = xaas("events", "--run", id).out.splitlines()
        assert len(lines) == 8
        assert lines[-1].endswith(f"✔ run  {chain}  complete")
        assert all(line.startswith(id[:8]) for line in lines)

    def test_names_with_slashes_are_one_name(self, xaas: Xaas, tmp_path: Path) -> None:
        file = tmp_path / "t.json"
        file.write_text(json.dumps({"category": "", "name": "タスク 1/é%2F", "steps": []}))
        assert xaas("apply", "-f", str(file)).out == "pipelinetask/タスク 1/é%2F created\n"
        assert xaas("get", "task", "タスク 1/é%2F").code == 0
        assert xaas("delete", "task", "タスク 1/é%2F").out == "task タスク 1/é%2F deleted\n"
        assert xaas("get", "task", "タスク 1/é%2F").code == 1
