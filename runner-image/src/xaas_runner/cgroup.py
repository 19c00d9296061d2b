"""The memory that this process's container has left, as the kernel says."""

from typing import Final

RESERVE_BYTES: Final = 8 * 1024 * 1024
"""What a script may not use of it."""


def container_memory() -> int | None:
    """Return what is left of the container's memory limit, in bytes, or None without one.

    A little less than that, rather: the script shall see a MemoryError with a line number before
    the kernel ends the container.
    """
    for limit_file, used_file in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        try:
            with (
                open(limit_file, encoding="ascii") as limit,
                open(used_file, encoding="ascii") as used,
            ):
                left = int(limit.read()) - int(used.read()) - RESERVE_BYTES
        except (OSError, ValueError):  # absent, or the word "max"
            continue
        return max(left, RESERVE_BYTES) if left < 1 << 50 else None
    return None
