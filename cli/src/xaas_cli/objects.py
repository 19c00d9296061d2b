"""`xaas get`: objects as tables, JSON or YAML."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.console import RenderableType

from xaas_cli.board import moment, now
from xaas_cli.client import Json
from xaas_cli.documents import Kind
from xaas_cli.failures import Misuse
from xaas_cli.printing import Format, as_json, as_yaml, console, print_table, table, write
from xaas_cli.symbols import duration, status_text, tame

ALIASES: Final = {
    Kind.TASK: ("tasks", "task", "plt", "pipelinetasks", "pipelinetask"),
    Kind.PIPELINE: ("pipelines", "pipeline", "pl"),
    Kind.RUN: ("runs", "run", "plr", "pipelineruns", "pipelinerun"),
}

SHORT_ID: Final = 8
"""Characters of a run's id in a table: enough to name it to the other commands."""


def kind_of(word: str) -> Kind:
    """The kind that a user means by `tasks`, `plr` and the like. Raises Misuse."""
    for kind, words in ALIASES.items():
        if word.lower() in words:
            return kind
    known = "; ".join(", ".join(words[:3]) for words in ALIASES.values())
    raise Misuse(f"{word!r} is no kind of object. Known are: {known}")


def show(kind: Kind, objects: Sequence[Json], form: Format, *, single: bool) -> None:
    """Print objects; `single`: one was asked for by its name."""
    if form is Format.JSON:
        write(as_json(objects[0] if single else {"items": list(objects)}))
    elif form is Format.YAML:
        write("---\n".join(as_yaml(one) for one in objects) if objects else "")
    elif not objects:
        console(stderr=True).print(f"No {ALIASES[kind][0]} found.")
    else:
        look = _LOOKS[kind]
        print_table(console(), table(look.headings, (look.row(one) for one in objects)))


@dataclass(frozen=True)
class _Look:
    """A kind's table."""

    headings: Sequence[str]
    row: Callable[[Json], Sequence[RenderableType]]


def _task(one: Json) -> Sequence[RenderableType]:
    undos = sum("undoScript" in step for step in one["steps"])
    return tame(one["name"]), tame(one["category"]), str(len(one["steps"])), str(undos), age(one)


def _pipeline(one: Json) -> Sequence[RenderableType]:
    return tame(one["name"]), tame(one["category"]), str(len(one["tasks"])), age(one)


def _run(one: Json) -> Sequence[RenderableType]:
    counts = one["tasks"]
    done = counts["succeeded"] + counts["skipped"]
    return (
        one["instance_id"][:SHORT_ID],
        tame(one["name"]),
        status_text(one["status"]),
        f"{done}/{counts['total']}",
        took(one),
        age(one),
        tame(one["reason"] or ""),
    )


_LOOKS: Final = {
    Kind.TASK: _Look(("NAME", "CATEGORY", "STEPS", "UNDOS", "AGE"), _task),
    Kind.PIPELINE: _Look(("NAME", "CATEGORY", "TASKS", "AGE"), _pipeline),
    Kind.RUN: _Look(("ID", "PIPELINE", "STATE", "TASKS", "DURATION", "AGE", "REASON"), _run),
}


def took(one: Json) -> str:
    """How long a run, task run or attempt took, or has taken so far."""
    started, finished = moment(one["started_at"]), moment(one["finished_at"])
    if started is None:
        return ""
    return duration(max(0.0, ((finished or now()) - started).total_seconds()))


def age(one: Json) -> str:
    """How long ago an object was made: `12s`, `5m`, `3h`, `9d`."""
    made = moment(one["created_at"])
    return "" if made is None else _age(made, now())


def _age(made: datetime, today: datetime) -> str:
    seconds = max(0, int((today - made).total_seconds()))
    steps: Iterable[tuple[int, str]] = ((86_400, "d"), (3_600, "h"), (60, "m"))
    for length, unit in steps:
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
