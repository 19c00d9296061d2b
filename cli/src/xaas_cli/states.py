"""The server's words for the states of runs and task runs."""

from enum import StrEnum
from typing import Final


class Side(StrEnum):
    """Which of a task's two task runs."""

    DO = "do"
    UNDO = "undo"


class Status(StrEnum):
    """States of runs and task runs, in the server's words."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"
    PROCESSING = "processing"
    COMPLETE = "complete"
    ABORTED = "aborted"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


OVER: Final = frozenset({Status.COMPLETE, Status.CANCELLED})
"""A run in one of these does nothing more by itself."""
