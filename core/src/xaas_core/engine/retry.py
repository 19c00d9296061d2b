"""When a failed attempt is tried again."""

from dataclasses import dataclass


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
        # The exponent is bounded so that a large limit can't overflow the float.
        grown = self.delay * self.factor ** min(retry - 1, 256)
        bounded = min(grown, 10**12 if self.max_delay is None else self.max_delay)
        return int(bounded)
