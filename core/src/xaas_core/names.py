"""Names that are derived, never stored: the same on every replica and after any restart."""

import uuid
from functools import lru_cache

from xaas_core.engine.states import Side


@lru_cache(maxsize=4096)  # several times for each change: in its notice, for its runner, its log
def instance_id(run: str, ref: str, side: Side) -> str:
    """The uuid of a task run, from its run's."""
    return str(uuid.uuid5(uuid.UUID(run), f"{side}/{ref}"))


def runner_id(run: str, ref: str, side: Side, attempt: int, launch: int) -> str:
    """The name of a runner: a DNS label, unique within a cluster."""
    short = instance_id(run, ref, side).replace("-", "")[:16]
    again = f"-{launch}" if launch > 1 else ""
    return f"xaas-{short}-{attempt}{again}"


def event_id(run: str, sequence: int) -> str:
    """The uuid of a notification, from its run and its position there."""
    return str(uuid.uuid5(uuid.UUID(run), f"event/{sequence}"))
