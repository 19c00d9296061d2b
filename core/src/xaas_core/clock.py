"""The machine's clock."""

import time


class SystemClock:
    """Implements `xaas_core.ports.Clock`."""

    def now(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000
