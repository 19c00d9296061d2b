"""What ends a command without success: a text for the user, and the exit code.

Exit codes: 0 as asked; 1 a run that didn't end `complete`, a refusal, or a server that can't be
reached; 2 a command or a file that can't be understood; 130 interrupted with Ctrl-C.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

INTERRUPTED: Final = 130


class Failure(Exception):
    """Ends the command. The text says what is wrong, where, and what to do."""

    code: ClassVar[int] = 1


class Misuse(Failure):
    """A command, option or file that can't be understood."""

    code: ClassVar[int] = 2


class Unreachable(Failure):
    """No answer from the server."""

    def __init__(self, server: str, why: str) -> None:
        super().__init__(
            f"No server answers at {server} ({why}).\n"
            "Start one with `xaas up`, or say where it is: --server URL, or XAAS_SERVER."
        )


class Place:
    """One thing that the server found wrong: `place` is a path such as `steps[0].doScript`."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.place = str(entry.get("place") or "")
        self.message = str(entry.get("message") or "")
        line = entry.get("line")
        self.line = line if isinstance(line, int) else None

    def __str__(self) -> str:
        where = self.place
        if self.line is not None:
            where = f"{where}, line {self.line}" if where else f"line {self.line}"
        return f"{where}: {self.message}" if where else self.message


class Refused(Failure):
    """The server's answer was no. `status` is the HTTP code, `places` what it names."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.title = str(problem.get("title") or f"the server answered {status}")
        self.detail = str(problem.get("detail") or "")
        entries = problem.get("errors")
        self.places = tuple(
            Place(entry) for entry in (entries if isinstance(entries, list) else []) if entry
        )
        super().__init__("\n".join([self.said, *(f"  {place}" for place in self.places)]))

    @property
    def said(self) -> str:
        """The refusal in one line, without the places."""
        if self.status == HTTPStatus.UNAUTHORIZED:
            return (
                "The server wants its token, and didn't get it: "
                "give --token-file FILE, or set XAAS_TOKEN_FILE (or XAAS_TOKEN)"
            )
        if self.places or not self.detail:
            return self.title
        return self.detail
