"""`xaas describe`: one object with all that belongs to it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.text import Text

from xaas_cli.board import Board, note
from xaas_cli.client import Api, Json
from xaas_cli.failures import Refused
from xaas_cli.objects import took
from xaas_cli.printing import as_json, facts, print_table, table
from xaas_cli.states import Side, Status
from xaas_cli.symbols import UNDO_WORDS, date_and_time, status_text, tame, task_symbol

AROUND: Final = 2
"""Lines of a script shown before and after the one that failed."""

_FURTHER: Final = [
    "timeout",
    "startTimeout",
    "gracePeriod",
    "retries",
    "image",
    "resources",
    "secrets",
    "allowedImports",
]


def describe_task(out: Console, task: Json) -> None:
    """A PipelineTask: its settings, then its scripts."""
    print_table(
        out,
        facts(
            [
                ("Task", tame(task["name"])),
                ("Category", tame(task["category"])),
                ("Created", date_and_time(task["created_at"])),
                *((field, tame(_short(task[field]))) for field in _FURTHER if field in task),
            ]
        ),
    )
    for index, step in enumerate(task["steps"]):
        for field in ("doScript", "undoScript"):
            if step.get(field) is not None:
                out.print(Text(f"\nStep {index}, {field}:", "bold"))
                for number, line in enumerate(step[field].splitlines(), 1):
                    out.print(Text(f"  {number:>3} ", "dim") + Text(tame(line)), soft_wrap=True)


def describe_pipeline(out: Console, pipeline: Json) -> None:
    """A Pipeline: its tasks in the order of the DAG."""
    print_table(
        out,
        facts(
            [
                ("Pipeline", tame(pipeline["name"])),
                ("Category", tame(pipeline["category"])),
                ("Created", date_and_time(pipeline["created_at"])),
            ]
        ),
    )
    out.print()
    entries = {entry["ref"]: entry for entry in pipeline["tasks"]}
    board = Board("")
    board.list_rows(pipeline["tasks"])
    rows = (
        (
            str(row.level),
            tame(row.ref),
            tame(row.name),
            tame(", ".join(row.after)),
            tame(" ".join((entries[row.ref].get("condition") or "").split())),
        )
        for row in board.rows.values()
    )
    print_table(out, table(("LEVEL", "REF", "TASK", "AFTER", "CONDITION"), rows))


def describe_run(out: Console, api: Api, run: Json, tasks: Sequence[Json]) -> None:
    """A run: its state, its task runs, and every error with the script's lines."""
    status = status_text(run["status"])
    if run["reason"]:
        status.append(f"  {tame(run['reason'])}", "dim")
    print_table(
        out,
        facts(
            [
                ("Run", run["instance_id"]),
                ("Pipeline", tame(run["name"])),
                ("State", status),
                ("Created", date_and_time(run["created_at"])),
                ("Started", date_and_time(run["started_at"])),
                ("Finished", date_and_time(run["finished_at"])),
                ("Duration", took(run)),
                ("Object", run["resource_name"]),
                ("Parameters", tame(_short(run["parameters"])) if run["parameters"] else None),
                ("Possible now", ", ".join(run["operations"])),
            ]
        ),
    )
    for warning in run["warnings"]:
        out.print(Text(f"Warning: {warning['type']}: {tame(warning['message'])}", "yellow"))
    out.print()
    out.print(
        table(("REF", "TASK", "", "DO", "ATTEMPTS", "TIME", "", "UNDO", "TIME"), _rows(tasks))
    )
    for task in tasks:
        newest = task["attempts"][-1] if task["attempts"] else None
        if newest is not None and newest["status"] == Status.PENDING and newest["error"]:
            text = (
                f"{tame(task['ref'])} ({task['process_type']}): {tame(newest['error']['message'])}"
            )
            out.print(Text(f"Waiting: {text}", "yellow"), soft_wrap=True)
    sources = _Sources(api)
    for task in tasks:
        if task["status"] == Status.FAILED:
            _print_failure(out, task, sources)


def _rows(tasks: Sequence[Json]) -> Iterator[Sequence[RenderableType]]:
    sides = {(task["ref"], task["process_type"]): task for task in tasks}
    for (ref, side), do in sides.items():
        if side != Side.DO:
            continue
        undo = sides.get((ref, Side.UNDO))
        status = Status(undo["status"]) if undo is not None else Status.PENDING
        do_status = Status(do["status"])
        yield (
            tame(ref),
            tame(do["name"]),
            task_symbol(do_status, Side.DO),
            f"{do_status} ({tame(do['reason'])})" if do["reason"] else str(do_status),
            str(len(do["attempts"])),
            took(do),
            task_symbol(status, Side.UNDO),
            UNDO_WORDS[status],
            took(undo) if undo is not None else "",
        )


def _print_failure(out: Console, task: Json, sources: "_Sources") -> None:
    out.print()
    heading = f"{tame(task['ref'])} {tame(task['name'])} ({task['process_type']}) failed"
    out.print(Text(f"✘ {heading}", "bold red") + Text(f"  {tame(note(task))}"), soft_wrap=True)
    attempts = task["attempts"]
    if len(attempts) > 1:
        for attempt in attempts:
            error = attempt["error"]
            why = f": {tame(error['type'])}: {tame(error['message'])}" if error else ""
            text = f"  attempt {attempt['number']} {attempt['status']} after {took(attempt)}{why}"
            out.print(Text(text, "dim"), soft_wrap=True)
    error = task["error"]
    if not error:
        return
    for text in error["message"].splitlines()[1:]:
        out.print(Text(f"  {tame(text)}"), soft_wrap=True)
    for text, style in excerpt(sources.script(task, error), error["line"]):
        out.print(Text(text, style), soft_wrap=True)
    frames = error["traceback"]
    if len(frames) > 1:  # a single one says what the excerpt has shown
        for line in "\n".join(frames).splitlines():
            out.print(Text(f"  {tame(line)}", "dim"), soft_wrap=True)


def excerpt(script: str | None, line: int | None) -> Iterator[tuple[str, str]]:
    """The lines around `line` of a script, numbered, each with the style to show it in."""
    lines = script.splitlines() if script else []
    if line is None or not 0 < line <= len(lines):
        return
    first, last = max(1, line - AROUND), min(len(lines), line + AROUND)
    for number in range(first, last + 1):
        mark, style = ("→", "bold") if number == line else (" ", "dim")
        yield f"  {mark} {number:>3}  {tame(lines[number - 1])}", style


class _Sources:
    """The scripts of tasks, read when they are needed.

    A run works on copies that REST doesn't show, so these are the definitions of today: one that was
    edited since shows other lines.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._tasks: dict[str, Json | None] = {}

    def script(self, task: Json, error: Mapping[str, Any]) -> str | None:
        """The script in which the error was raised; None if it can't be told."""
        name, step = task["name"], error.get("step")
        if name not in self._tasks:
            try:
                self._tasks[name] = self._api.definition("pipelinetasks", name)
            except Refused:
                self._tasks[name] = None
        found = self._tasks[name]
        if found is None or step is None or step >= len(found["steps"]):
            return None
        field = "doScript" if task["process_type"] == Side.DO else "undoScript"
        script: str | None = found["steps"][step].get(field)
        return script


def _short(value: Any) -> str:
    text = as_json(value)
    return " ".join(text.split()) if len(text) < 200 else text
