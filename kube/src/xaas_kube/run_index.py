"""What is known of runs from watching them: where each lies, and how it looks in a list.

Nothing is decided from this. It says where to read (a run is asked for by its uid, the API server
wants a name), who is to be told of a change, and what a list shows.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from xaas_core.engine.history import Change
from xaas_core.engine.states import OVER
from xaas_core.models.objects import Run
from xaas_core.ports import Part, Touch
from xaas_kube import run_objects
from xaas_kube.client import Json
from xaas_kube.definition_objects import created
from xaas_kube.feed import ChangeFeed
from xaas_kube.words import FINALIZER, Annotation, Label


@dataclass(frozen=True)
class KnownRun:
    """A run as it was last seen. `version` counts; `shown` are the fields that its status has;
    `held`: it has our finalizer; `others` are finalizers that aren't ours."""

    uid: str
    namespace: str
    name: str
    version: int
    generation: int
    created: str
    deleting: bool
    retired: str | None
    live: bool
    category: str | None
    shown: frozenset[str]
    conditions: tuple[Json, ...]
    logged: int
    held: bool
    others: tuple[str, ...]
    run: Run
    """With its history while it isn't over: it is looked at for each change."""

    def tells(self, version: str) -> bool:
        """Whether `run` is all that its object of this version holds."""
        return str(self.version) == version and len(self.run.history) == self.logged

    @property
    def metadata(self) -> Json:
        """What of an object's metadata names its owner."""
        return {"name": self.name, "namespace": self.namespace, "uid": self.uid}


class RunIndex:
    """The sink of the informer of runs. `touched` is told of every change, `feed` of the logs.

    `live_only`: a run that is over goes out of sight, and isn't removed; its log can be read on.
    """

    def __init__(
        self, touched: Callable[[Touch], None], feed: ChangeFeed, *, live_only: bool = False
    ) -> None:
        self._touched = touched
        self._feed = feed
        self._live_only = live_only
        self._runs: dict[str, KnownRun] = {}

    def get(self, uid: str) -> KnownRun | None:
        """What is known of a run."""
        return self._runs.get(uid)

    def all(self) -> Iterable[KnownRun]:
        """All runs that are known."""
        return self._runs.values()

    def seen(self, item: Json) -> None:
        """See `informer.Sink`."""
        before = self._runs.get(item["metadata"]["uid"])
        now = known_run(item)
        if self._live_only or now.run.status.summary.state not in OVER:
            told = () if before is None else before.run.history
            now = replace(now, run=replace(now.run, history=_grown(told, item)))
        texts = (item.get("status") or {}).get("log") or ()
        self._feed.add(now.uid, texts, 0 if before is None else before.logged)
        self._runs[now.uid] = now
        spec = (
            before is None
            or before.generation != now.generation
            or before.deleting != now.deleting
            or before.retired != now.retired
        )
        if spec:
            self._touched(Touch(now.uid, Part.SPEC))
        # Both may come in one: a live read tells of all that was written since.
        if not spec or now.logged > (0 if before is None else before.logged):
            self._touched(Touch(now.uid, Part.STATUS))

    def gone(self, uid: str) -> None:
        """See `informer.Sink`."""
        known = self._runs.pop(uid, None)
        if known is not None:
            if not (self._live_only and known.run.status.summary.state in OVER):
                self._feed.drop(uid)
            self._touched(Touch(uid, Part.REMOVED))


def known_run(item: Json) -> KnownRun:
    """What is known of a run from its object."""
    meta, spec, status = item["metadata"], item["spec"], item.get("status") or {}
    state = status.get("state")
    deleting = "deletionTimestamp" in meta
    retired = (meta.get("labels") or {}).get(Label.OVER)
    return KnownRun(
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        version=int(meta["resourceVersion"]),
        generation=int(meta.get("generation") or 0),
        created=created(item),
        deleting=deleting,
        retired=retired,
        live=state not in OVER
        or retired is None  # nobody who crashed before it was put aside may forget to do so
        or deleting
        or spec.get("ttlAfterFinished") is not None
        or _waits(spec.get("operation"), status.get("operation")),
        category=(meta.get("annotations") or {}).get(Annotation.CATEGORY),
        shown=frozenset(status),
        conditions=tuple(status.get("conditions") or ()),
        logged=len(status.get("log") or ()),
        held=FINALIZER in (meta.get("finalizers") or ()),
        others=tuple(run_objects.finalizers_of_others(item)),
        run=run_objects.read(item, history=False),
    )


def _grown(told: tuple[Change, ...], item: Json) -> tuple[Change, ...]:
    """A run's history, of which `told` is known already: a log only grows."""
    texts = (item.get("status") or {}).get("log") or ()
    if len(texts) < len(told):
        told = ()  # somebody edited it; what there is now is what counts
    return (*told, *(each.change for each in run_objects.log(texts[len(told) :])))


def _waits(asked: Any, answered: Any) -> bool:
    return bool(asked) and (answered or {}).get("id") != asked.get("id")
