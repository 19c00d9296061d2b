"""Output: the console, tables, JSON and YAML."""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import yaml
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from xaas_cli.yaml_files import reads_as_number

WIDE: Final = 500
"""Columns where there is no terminal: whoever reads it gets whole lines."""


GAP: Final = 3
"""Blanks between two columns of a table."""

NARROWEST: Final = 8
"""Columns that a name keeps, however narrow the terminal is."""

_LINE_BREAKS: Final = re.compile("[\r\x85\u2028\u2029\ufeff]")


class Format(StrEnum):
    """How objects are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def console(*, stderr: bool = False) -> Console:
    """A console on what stdout (or stderr) is now."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        width=None if stream.isatty() else WIDE,
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[RenderableType]]) -> Table:
    """A plain table, as wide as its content."""
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for heading in headings:
        made.add_column(heading, no_wrap=True, overflow="ellipsis")
    for row in rows:
        made.add_row(*row)
    return made


def facts(pairs: Iterable[tuple[str, RenderableType | None]]) -> Table:
    """Labels with values; those that are None or empty are left out."""
    made = Table.grid(padding=(0, 2))
    made.add_column(no_wrap=True, style="dim")
    made.add_column(overflow="fold")
    for label, value in pairs:
        if value is not None and (not isinstance(value, str) or value):
            made.add_row(f"{label}:", Text(value) if isinstance(value, str) else value)
    return made


def print_table(out: Console, made: Table) -> None:
    """Print a table; where no terminal is, without the blanks that fill its lines."""
    if out.is_terminal:
        _fit(out, made)
        out.print(made)
        return
    with out.capture() as captured:
        out.print(made)
    for line in captured.get().splitlines():
        out.print(line.rstrip(), soft_wrap=True)


def _fit(out: Console, made: Table) -> None:
    """Where the terminal is too narrow, shorten the widest column and leave the others whole.

    It is the one with names; an id or a state that is cut is of no use.
    """
    widths = [
        max(out.measure(cell).maximum for cell in (column.header, *column.cells))
        for column in made.columns
    ]
    excess = sum(widths) + GAP * (len(widths) - 1) - out.width
    if excess > 0:
        widest = widths.index(max(widths))
        made.columns[widest].max_width = max(NARROWEST, widths[widest] - excess)


def as_json(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def as_yaml(value: Any) -> str:
    """YAML, texts of several lines as blocks."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDE)
    return text


def write(text: str) -> None:
    """Text as it is, for programs to read."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


class _Dumper(yaml.SafeDumper):
    """SafeDumper that writes texts of several lines as they are read best, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    if reads_as_number(value):
        style = "'"
    if _LINE_BREAKS.search(value):
        style = '"'  # PyYAML folds these into blanks in every other style
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
