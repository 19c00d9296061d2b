"""Tables on a terminal that is too narrow for them."""

import io

from rich.console import Console

from xaas_cli.printing import print_table, table


def printed(width: int) -> list[str]:
    out = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width)
    rows = [("1b2c3d4e", "a-very-long-name-of-a-pipeline", "cancelled", "TaskFailed")]
    print_table(out, table(("ID", "PIPELINE", "STATE", "REASON"), rows))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue().splitlines()


def test_only_the_widest_column_is_shortened() -> None:
    line = printed(56)[1]
    assert len(line) == 56
    assert line.split() == ["1b2c3d4e", "a-very-long-name-of…", "cancelled", "TaskFailed"]


def test_nothing_is_shortened_where_there_is_room() -> None:
    assert "a-very-long-name-of-a-pipeline" in printed(80)[1]
