"""A clock that moves when it is told to."""

EPOCH = 1_700_000_000_000
"""Where virtual time begins: a round moment, so that times in a trace are readable."""


class VirtualClock:
    """`ports.Clock` for tests: milliseconds since 1970."""

    def __init__(self, at: int = EPOCH) -> None:
        self._at = at

    def now(self) -> int:
        """Milliseconds since 1970."""
        return self._at

    def advance(self, milliseconds: int) -> None:
        """Let `milliseconds` pass."""
        assert milliseconds >= 0, "time doesn't go backwards"
        self._at += milliseconds

    def move_to(self, at: int) -> None:
        """Let the time until `at` pass; nothing if that is over already."""
        self._at = max(self._at, at)
