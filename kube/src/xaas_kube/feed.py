"""The changes of all runs as one stream, and cursors into it that any server understands.

Theory of operation. A run's log is in order; between runs there is no order but the time at which
each change was recorded. A server streams changes as its watch tells of them and keeps the last of
them (`ChangeFeed`). A cursor names a change, its time, and the server that told it. That server goes
on right after it. Another one (a replica, one that was restarted) goes on at that time *less a slack*,
for what was recorded a little earlier may have been told a little later, and so in another order
here than there; some changes are told again, and none is lost. What is older than what is kept is read
from the runs themselves (`replay`), in the order of their times.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from xaas_core.engine.history import Change
from xaas_core.ports import Logged
from xaas_kube.run_objects import log

SLACK: Final = 30_000
"""Milliseconds between a change's time and its arrival, at most: the longest request, and clocks."""

KEPT: Final = 20_000
"""Changes that are kept, some hundred bytes each."""

KEPT_FOR: Final = 600_000
"""Milliseconds: of what was recorded before a server started, this much is kept."""

NOBODY: Final = "0"

_CURSOR: Final = re.compile(
    r"([elr])([0-9]{1,15})-([0-9a-f-]{36}|0)-([0-9]{1,9})-([0-9a-f]{1,8})", re.ASCII
)


@dataclass(frozen=True)
class Entry:
    """A change: when it was recorded, of which run, and its number there."""

    at: int
    run: str
    sequence: int
    change: Change

    @property
    def place(self) -> tuple[int, str, int]:
        """What sorts changes."""
        return (self.at, self.run, self.sequence)


@dataclass(frozen=True)
class Cursor:
    """A place in the stream. `kind`: e is after an entry, r after one of a replay, l at a time.

    `server` is the one that told it.
    """

    kind: str
    at: int
    run: str = "0"
    sequence: int = 0
    server: str = NOBODY

    def __str__(self) -> str:
        return f"{self.kind}{self.at}-{self.run}-{self.sequence}-{self.server}"

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """Raises ValueError for a text that is no cursor."""
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no cursor of this server's changes")
        kind, at, run, sequence, server = found.groups()
        return cls(kind, int(at), run, int(sequence), server)


def entries(run: str, texts: Sequence[str], start: int = 0) -> list[Entry]:
    """The changes of a run's log from position `start` on."""
    return [
        Entry(written.at, run, sequence, written.change)
        for sequence, written in enumerate(log(texts[start:]), start + 1)
    ]


class ChangeFeed:
    """The last changes that this server was told of, in the order in which it was.

    `server` is what no other one is called, not even this one before a restart.
    """

    def __init__(self, started: int, server: str) -> None:
        self._server = server
        self._entries: list[Entry] = []
        self._first = 0  # number of the first entry that is kept
        self._numbers: dict[tuple[str, int], int] = {}
        self._gone: set[str] = set()
        self._told: dict[str, int] = {}
        self._oldest = started - KEPT_FOR
        self._waiting: list[Entry] | None = []
        self.floor = 0
        """Changes recorded before this time (ms since 1970) may be missing here."""

    def add(self, run: str, texts: Sequence[str], known: int) -> None:
        """A run's log is now `texts`; `known` of them were told before."""
        known = max(known, self._told.get(run, 0))  # it may have been put aside, and taken back
        self._gone.discard(run)
        if len(texts) <= known:
            return
        self._told[run] = len(texts)
        new = entries(run, texts, known)
        if self._waiting is None:
            self._append(new)
        else:
            self._waiting += new

    def settle(self) -> None:
        """All runs were told once: what they had logged until then comes in the order of its time."""
        waiting, self._waiting = self._waiting or [], None
        recent = [entry for entry in waiting if entry.at >= self._oldest]
        if len(recent) < len(waiting):
            self.floor = self._oldest
        self._append(sorted(recent, key=lambda entry: entry.place))

    def drop(self, run: str) -> None:
        """A run is gone, and its changes with it."""
        self._gone.add(run)

    @property
    def last(self) -> Cursor | None:
        """The cursor of the newest change; None if there is none."""
        return self._after(self._entries[-1]) if self._entries else None

    def read(self, cursor: Cursor, limit: int) -> list[Logged] | None:
        """Changes after `cursor`; None if it is of a time that isn't kept any more."""
        number = self._numbers.get((cursor.run, cursor.sequence))
        if number is not None and cursor.server == self._server:
            start = number + 1 - self._first
        elif cursor.kind == "l" and cursor.at == 0 and self.floor == 0:
            start = 0
        elif cursor.at - SLACK < self.floor:
            return None
        else:
            start = self._since(cursor.at - SLACK)
        found: list[Logged] = []
        for position in range(start, len(self._entries)):
            entry = self._entries[position]
            if entry.run not in self._gone:
                cursor = self._after(entry)
                found.append(Logged(str(cursor), entry.run, entry.sequence, entry.change))
                if len(found) == limit:
                    break
        return found

    def _after(self, entry: Entry) -> Cursor:
        return Cursor("e", entry.at, entry.run, entry.sequence, self._server)

    def _since(self, at: int) -> int:
        """Position of the first entry that was recorded at `at` or later."""
        for position, entry in enumerate(self._entries):
            if entry.at >= at:
                return position
        return len(self._entries)

    def _append(self, new: Iterable[Entry]) -> None:
        for entry in new:
            self._numbers[entry.run, entry.sequence] = self._first + len(self._entries)
            self._entries.append(entry)
        surplus = len(self._entries) - KEPT
        if surplus > KEPT // 10:
            for entry in self._entries[:surplus]:
                self._numbers.pop((entry.run, entry.sequence), None)
                self.floor = max(self.floor, entry.at + 1)
            del self._entries[:surplus]
            self._first += surplus
            kept = {entry.run for entry in self._entries}
            for run in self._gone - kept:
                self._told.pop(run, None)
            self._gone &= kept


def replay(every: Iterable[Entry], cursor: Cursor, limit: int) -> list[Logged]:
    """Changes after `cursor` among `every`, in the order of their times."""
    ordered = sorted(every, key=lambda entry: entry.place)
    places = [entry.place for entry in ordered]
    if cursor.kind == "r":
        start = bisect_left(places, (cursor.at, cursor.run, cursor.sequence + 1))
    else:
        start = bisect_left(places, (cursor.at - SLACK, "", 0))
    return [
        Logged(
            str(Cursor("r", entry.at, entry.run, entry.sequence)),
            entry.run,
            entry.sequence,
            entry.change,
        )
        for entry in ordered[start : start + limit]
    ]
