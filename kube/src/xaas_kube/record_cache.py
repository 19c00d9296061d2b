"""Records of the runs that aren't put aside, as they were last seen.

Theory of operation. A decision may be made from a record that is a moment old: it is then the decision
that was right that moment ago, and the guarded write of whatever was written meanwhile fails. What
this process wrote itself it sees at once. So is never decided on what is older than our own writes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from xaas_core.engine.facts import Key
from xaas_core.engine.records import TaskRecord
from xaas_core.ports import Part, Stored, Touch
from xaas_kube import record_objects
from xaas_kube.client import Json
from xaas_kube.words import Label


class RecordCache:
    """The sink of the informer of task runs. `touched` is told of every change."""

    def __init__(self, touched: Callable[[Touch], None]) -> None:
        self._touched = touched
        self._part: Part | None = None
        self._items: dict[str, dict[Key, Json]] = {}
        # Read when they are asked for: a replica that doesn't lead is told of all, and asked for few.
        self._read: dict[str, dict[Key, Stored[TaskRecord]]] = {}
        self._unread: dict[str, set[Key]] = {}
        self._places: dict[str, tuple[str, Key]] = {}
        self._whole: set[str] = set()
        self._awaited: set[str] = set()

    @contextmanager
    def own(self) -> Iterator[None]:
        """What is seen meanwhile was written by the reconciler itself: it needs no second look."""
        self._part = Part.STATUS
        try:
            yield
        finally:
            self._part = None

    def of(self, run: str) -> dict[Key, Stored[TaskRecord]] | None:
        """The records of a run; None if some of them may be missing here."""
        if run not in self._whole:
            return None
        if run not in self._items:
            return {}
        read, unread = self._read.setdefault(run, {}), self._unread[run]
        while unread:
            key = next(iter(unread))
            item = self._items[run][key]
            read[key] = Stored(record_objects.read(item), item["metadata"]["resourceVersion"])
            unread.remove(key)
        return dict(read)

    def status(self, run: str, key: Key) -> dict[str, Any]:
        """What a task run's object shows now; empty if there is none."""
        item = self._items.get(run, {}).get(key)
        return {} if item is None else dict(item.get("status") or {})

    def uids(self, run: str) -> list[str]:
        """The uids of a run's task runs."""
        return [item["metadata"]["uid"] for item in self._items.get(run, {}).values()]

    def runs(self) -> set[str]:
        """The runs of which something is kept here."""
        return self._items.keys() | self._whole | self._awaited

    def wants(self, run: str) -> bool:
        """Whether it matters that all records of a run are here."""
        return run in self._whole or run in self._awaited

    def expect(self, run: str) -> None:
        """All records of a run are about to be told: `complete` follows, if none goes before."""
        self._awaited.add(run)

    def complete(self, run: str) -> None:
        """All records of a run were told: so they are here, and those that will be written."""
        if run in self._awaited:
            self._awaited.remove(run)
            self._whole.add(run)

    def drop(self, run: str) -> list[str]:
        """Let go of a run's records; the answer is their uids. Nobody is told."""
        uids = self.uids(run)
        for uid in uids:
            self._places.pop(uid, None)
        self._clear(run)
        self._whole.discard(run)
        self._awaited.discard(run)
        return uids

    def seen(self, item: Json) -> None:
        """See `informer.Sink`."""
        run, key = item["metadata"]["labels"][Label.RUN], record_objects.key_of(item)
        self._items.setdefault(run, {})[key] = item
        self._unread.setdefault(run, set()).add(key)
        self._places[item["metadata"]["uid"]] = (run, key)
        part = self._part or (Part.BEGUN if _runs(item) else Part.RECORD)
        self._touched(Touch(run, part))

    def gone(self, uid: str) -> None:
        """See `informer.Sink`."""
        place = self._places.pop(uid, None)
        if place is None:
            return
        run, key = place
        kept = self._items.get(run, {})
        if key in kept and kept[key]["metadata"]["uid"] == uid:
            del kept[key]
            self._read.get(run, {}).pop(key, None)
            self._unread.get(run, set()).discard(key)
        if not kept:
            self._clear(run)
        # Removed: whoever decides about this run must ask for its records live.
        self._whole.discard(run)
        self._awaited.discard(run)
        self._touched(Touch(run, self._part or Part.RECORD))

    def _clear(self, run: str) -> None:
        for memory in (self._items, self._read, self._unread):
            memory.pop(run, None)


def _runs(item: Json) -> bool:
    """Whether a step has begun and not ended, by what was written last."""
    attempts: list[Json] = (item.get("status") or {}).get("attempts") or []
    steps: list[Json] = (attempts[-1].get("steps") or []) if attempts else []
    return bool(steps) and "finishedAt" not in steps[-1]
