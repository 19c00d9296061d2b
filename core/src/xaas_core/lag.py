"""What was last seen of a run's records may be older than its history: which of them must be read."""

from collections.abc import Collection, Mapping

from xaas_core.engine.facts import Key
from xaas_core.engine.history import Cell, History
from xaas_core.engine.records import TaskRecord
from xaas_core.engine.states import TaskState
from xaas_core.ports import Stored


def behind(
    history: History,
    records: Mapping[Key, Stored[TaskRecord]],
    keys: Collection[Key] | None = None,
) -> list[Key]:
    """Of which task runs (of `keys`, or all) the record is older than the history, which follows
    from the records.

    A store gives all records of a run as it last saw them. Chosen ones are read live.
    """
    named = history.named
    chosen = named if keys is None else named.keys() & keys
    return [key for key in chosen if _is_behind(named[key], records.get(key))]


def _is_behind(cell: Cell, stored: Stored[TaskRecord] | None) -> bool:
    # Asked of all task runs of a run with each of its decisions.
    attempts = () if stored is None else stored.value.attempts
    if not attempts:
        return True
    last = attempts[-1]
    if last.number != cell.newest:
        return last.number < cell.newest
    told_begun = cell.state is TaskState.RUNNING and cell.attempt == cell.newest
    return (told_begun and not last.begun) or (cell.newest_over and not last.over)
