"""When a failed attempt is tried again."""

from dataclasses import dataclass
from typing import Final

LONGEST: Final = 10 * 365 * 24 * 3_600_000
"""Milliseconds that a delay grows to without `max_delay`: ten years, which is never."""


@dataclass(frozen=True)
class Retries:
    """`limit` counts the attempts after the first; delays in milliseconds."""

    limit: int = 0
    delay: int = 0
    factor: float = 1.0
    max_delay: int | None = None

    def delay_before(self, retry: int) -> int:
        """Milliseconds between the end of an attempt and the `retry`-th one after it (from 1).

        Exponential back-off without jitter: delay * factor^(retry - 1), at most `max_delay`.
        """
        longest = LONGEST if self.max_delay is None else self.max_delay
        try:
            grown = self.delay * self.factor ** (retry - 1)
        except OverflowError:  # beyond any float, hence beyond the longest
            grown = longest if self.delay else 0
        return int(min(grown, longest))
