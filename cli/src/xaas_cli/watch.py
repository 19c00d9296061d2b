"""Watching a run until it is at rest.

Events drive it, snapshots correct it: after a failure and at the end a snapshot brings what events
don't tell (errors, reasons), and when the stream has been silent, or isn't there, the snapshots
alone tell the states. So a lost, repeated or late event never leaves a wrong picture for longer
than `SILENCE_S`.
"""

import time
from typing import Final

from rich.console import Console

from xaas_cli.board import Board, Change
from xaas_cli.client import Api
from xaas_cli.failures import Refused, Unreachable
from xaas_cli.feed import Feed
from xaas_cli.states import OVER, Status
from xaas_cli.views import FRAME_S, View, view_for

SILENCE_S: Final = 2.0
"""After this long without an event the states are read."""

POLL_S: Final = 0.5
"""Between two reads where there is no stream of events."""

PATIENCE_S: Final = 30.0
"""How long a server that was there may be away, for a restart, before the watch is given up."""

_ASK: Final = frozenset(
    {Status.FAILED, Status.SKIPPED, Status.COMPLETE, Status.CANCELLED, Status.ABORTED}
)
"""Changes after which a snapshot has more to say than the event."""


class Watch:
    """One run, watched; `console` decides how it is shown. `board` is what is known of the run."""

    def __init__(self, api: Api, id: str, console: Console) -> None:
        self._api = api
        self._console = console
        self._seen = 0.0
        self._answered = -PATIENCE_S
        self.board = Board(id)

    def until_rest(self, *, start: bool = False) -> Board:
        """Show the run until it is at rest; with `start`, start it once the stream is up.

        Raises Refused: the start isn't allowed, or the run is gone.
        """
        with (
            Feed(self._api, {"instance_id": self.board.id}) as feed,
            view_for(self._console) as view,
        ):
            self._show(view, self._snapshot(states=True))
            self._arrange()
            if start:
                self._api.operate(self.board.id, "run")
            while start or not self._is_at_rest(view):
                start = start and self.board.status is Status.PENDING
                self._step(feed, view)
        return self.board

    def _is_at_rest(self, view: View) -> bool:
        """Whether it is, by the events and by a snapshot: they tell of an `aborted` that a run which
        rolls back by itself only passes through, and whatever their order was, this is how it ended."""
        if self.board.at_rest:
            self._show(view, self._snapshot(states=True))
        return self.board.at_rest

    def _step(self, feed: Feed, view: View) -> None:
        events = feed.take(FRAME_S)
        changes = [change for event in events if (change := self.board.hear(event)) is not None]
        silent = time.monotonic() - self._seen > (SILENCE_S if feed.live else POLL_S)
        if any(change.status in _ASK for change in changes):
            self._snapshot(states=False)
            changes = [self._noted(change) for change in changes]
        elif silent:
            changes += self._snapshot(states=True)
        elif events:
            self._seen = time.monotonic()
        self._show(view, changes)

    def _show(self, view: View, changes: list[Change]) -> None:
        if changes:
            view.changed(self.board, changes)
        else:
            view.tick(self.board)

    def _snapshot(self, *, states: bool) -> list[Change]:
        try:
            run = self._api.run(self.board.id)
            changes = self.board.see(run, self._api.tasks(self.board.id), states=states)
        except Refused as refused:
            # Over, and removed already: what the events told is the end of it.
            if refused.status == 404 and self.board.status in OVER:
                return []
            raise
        except Unreachable:
            # The run goes on without us, and a server that restarts is soon back.
            if time.monotonic() - self._answered > PATIENCE_S:
                raise
            return []
        self._seen = self._answered = time.monotonic()
        return changes

    def _noted(self, change: Change) -> Change:
        """The change with what the snapshot says of it."""
        if change.ref is None or change.side is None:
            note = self.board.reason if change.status in OVER else ""
        else:
            cell = self.board.rows[change.ref].sides[change.side]
            note = cell.note if cell.status is change.status else ""
        return Change(**{**change.__dict__, "note": note or change.note})

    def _arrange(self) -> None:
        try:
            pipeline = self._api.definition("pipelines", self.board.name)
        except Refused:
            return  # deleted since, or a task's own run: the rows stay in their order
        self.board.arrange(pipeline["tasks"])
