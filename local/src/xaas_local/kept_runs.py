"""Runs as they were last read or written, so that a run under way needs no reading from the file.

Theory of operation. This process is the file's only writer, and each of its writes is told here
after its commit, in the order of the commits (`SqliteStore._write`). A write that follows from the
version that is kept makes the next version; any other drops what is kept, which is then read
anew. So what is kept is always some version of the run, never older than the last write whose
writer has been told of it; and whoever writes from it is guarded by its version.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from xaas_core.engine.facts import Key
from xaas_core.engine.plan import Plan
from xaas_core.engine.records import TaskRecord
from xaas_core.models.objects import Run
from xaas_core.ports import Stored, Writes

ROOM: Final = 32 * 1024 * 1024
"""Characters of text whose values are kept, the most recently used: as values, some times more."""

_BASE_SIZE: Final = 2_000
_CHANGE_SIZE: Final = 200


@dataclass
class KeptRun:
    """What is known of one run; a part that is None isn't known. `size` in characters of text."""

    run: Run | None = None
    plan: Plan | None = None
    records: dict[Key, Stored[TaskRecord]] | None = None
    size: int = _BASE_SIZE


class KeptRuns:
    """From the event loop only."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._used = 0
        self._kept: OrderedDict[str, KeptRun] = OrderedDict()

    def get(self, uid: str) -> KeptRun:
        """What is known of a run; an empty one, to be filled, if nothing is."""
        kept = self._kept.get(uid)
        if kept is None:
            kept = self._kept[uid] = KeptRun()
            self._used += kept.size
        self._kept.move_to_end(uid)
        return kept

    def grow(self, uid: str, size: int) -> None:
        """Count `size` more characters for a run; the least recently used may have to go."""
        if uid in self._kept:
            self._kept[uid].size += size
            self._used += size
        while self._used > self._room and len(self._kept) > 1:
            self.drop(next(iter(self._kept)))

    def drop(self, uid: str) -> None:
        """Forget a run."""
        kept = self._kept.pop(uid, None)
        if kept is not None:
            self._used -= kept.size

    def committed(self, writes: Writes, size: int) -> None:
        """A reconcile's writes are in the file."""
        uid = writes.run.meta.uid
        kept = self._kept.get(uid)
        if kept is None:
            return
        if writes.plan is not None:
            kept.plan = writes.plan
        if kept.records is not None:
            for record, version in writes.records:
                self._replace(kept, record, version)
        if writes.status is not None or writes.changes:
            kept.run = _next(kept.run, writes)
        self.grow(uid, size + _CHANGE_SIZE * len(writes.changes))

    def saved(self, uid: str, record: TaskRecord, version: str, size: int) -> None:
        """A record is in the file."""
        kept = self._kept.get(uid)
        if kept is not None and kept.records is not None:
            self._replace(kept, record, version)
            self.grow(uid, size)

    @staticmethod
    def _replace(kept: KeptRun, record: TaskRecord, version: str | None) -> None:
        if kept.records is None:
            return
        key = (record.ref, record.side)
        known = kept.records.get(key)
        if (known.version if known is not None else None) == version:
            kept.records[key] = Stored(record, _after(version))
        else:
            kept.records = None


def _next(run: Run | None, writes: Writes) -> Run | None:
    if run is None or run.meta.resource_version != writes.run.meta.resource_version:
        return None
    version = _after(run.meta.resource_version) if writes.status is not None else None
    return replace(
        run,
        meta=replace(run.meta, resource_version=version) if version else run.meta,
        status=writes.status or run.status,
        history=(*run.history, *writes.changes),
    )


def _after(version: str | None) -> str:
    return str(int(version or 0) + 1)
