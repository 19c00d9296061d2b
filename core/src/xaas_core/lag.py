"""What was last seen of a run's records may be older than its history: which of them must be read."""

from collections.abc import Collection, Mapping

from xaas_core.engine.facts import Key
from xaas_core.engine.history import History
from xaas_core.engine.records import TaskRecord
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
    chosen = named if keys is None else [key for key in keys if key in named]
    found = []
    for key in chosen:
        cell = named[key]
        stored = records.get(key)
        last = stored.value.last if stored is not None else None
        if (
            last is None
            or last.number < cell.newest
            or (cell.newest_over and last.number == cell.newest and not last.over)
        ):
            found.append(key)
    return found
