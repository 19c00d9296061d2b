"""An API server with one etcd: objects, their versions, what may be written, and what was.

It keeps the rules of the real one as far as the product can meet them: one counter of versions;
guarded writes; writes that change nothing aren't writes; `generation`, status subresources,
finalizers, graceful deletion of pods, preconditions. Its methods answer at once; that requests take
time, and may be lost, is the client's affair (`client`).
"""

import asyncio
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.simulation.kubernetes.api_requests import Place, Selector, merged, patched, place_of
from tests.simulation.kubernetes.virtual_loop import Chance, LoopClock

from xaas_core.notices import rfc3339
from xaas_kube.client import JSON_PATCH, METADATA_LIST, ApiError, Json

WITH_STATUS = frozenset({"pipelineruns", "pipelines", "pipelinetasks", "jobs", "pods"})
"""Resources whose status is a subresource. (Task runs have none.)"""

COUNTED = WITH_STATUS - {"pods"} | {"pipelinetaskruns"}
"""Resources that have a `generation`."""

FOREGROUND = "foregroundDeletion"


class Event(NamedTuple):
    """A write. `before` is None for what is new; a deletion's `item` is its last state."""

    version: int
    kind: str  # ADDED, MODIFIED or DELETED
    place: Place
    item: Json
    before: Json | None


@dataclass(frozen=True)
class Page:
    """The rest of a list that is read page by page: it stays as it was."""

    items: tuple[Json, ...]
    version: int


class ApiServer:
    """Objects by place. Methods raise ApiError, as the real one answers."""

    def __init__(self, clock: LoopClock, chance: Chance) -> None:
        self._clock = clock
        self._chance = chance
        self.version = 100
        self.cuts = 0
        self.floor = 0
        """Events up to this version are forgotten: a watch from before it is too old."""
        self._objects: dict[Place, Json] = {}
        self._places: dict[str, Place] = {}  # by uid
        self.events: defaultdict[str, list[Event]] = defaultdict(list)
        self.listeners: list[Callable[[Event], None]] = []
        self.asked: Counter[tuple[str, str]] = Counter()
        """What the operators have asked for, by verb and resource."""
        self.times: dict[int, float] = {}
        self._pages: dict[str, Page] = {}
        self._waiting: defaultdict[str, list[asyncio.Future[None]]] = defaultdict(list)
        self.largest_page = 500

    # ----------------------------------------------------------------------------------- reading

    def all(self, resource: str) -> list[Json]:
        """The objects of a resource, not to be changed."""
        return [item for place, item in self._objects.items() if place.resource == resource]

    def find(self, resource: str, namespace: str, name: str) -> Json | None:
        """An object, not to be changed."""
        return self._objects.get(Place(resource, namespace, name, ""))

    def by_uid(self, uid: str) -> Json | None:
        """An object, not to be changed."""
        return self._objects[self._places[uid]] if uid in self._places else None

    def resource_of(self, item: Json) -> str:
        """The resource of an object."""
        return self._place(item).resource

    def get(self, path: str, params: Any, accept: str) -> Json:
        """GET of an object or a list."""
        place = place_of(path)
        if place.name:
            return _copy(self._held(place))
        return self._list(place, params or {}, accept == METADATA_LIST)

    def _list(self, place: Place, params: Any, metadata_only: bool) -> Json:
        token = params.get("continue")
        if token:
            page = self._pages.get(token)
            if page is None or page.version < self.floor:
                raise ApiError(410, "Expired", "the continue parameter is too old")
        else:
            selector = Selector.read(params)
            chosen = [
                item
                for held, item in sorted(self._objects.items(), key=lambda pair: pair[0][:3])
                if held.resource == place.resource
                and place.namespace in (None, held.namespace)
                and selector.fits(item["metadata"])
            ]
            page = Page(tuple(chosen), self.version)
        most = min(int(params.get("limit") or 500), self.largest_page)
        shown, rest = page.items[:most], page.items[most:]
        meta: Json = {"resourceVersion": str(page.version)}
        if rest:
            meta["continue"] = f"page-{len(self._pages)}"
            self._pages[meta["continue"]] = Page(rest, page.version)
        items = [{"metadata": item["metadata"]} for item in shown] if metadata_only else list(shown)
        found = _copy({"metadata": meta, "items": items})
        # As the real one: null where an empty list of metadata is meant.
        return found | {"items": None} if metadata_only and not items else found

    # ----------------------------------------------------------------------------------- writing

    def create(self, path: str, body: Json) -> Json:
        """POST."""
        place, item = place_of(path), _copy(body)
        meta = item["metadata"]
        assert place.namespace is not None
        place = place._replace(name=meta["name"])
        if place in self._objects:
            text = f'{place.resource} "{place.name}" already exists'
            raise ApiError(409, "AlreadyExists", text)
        number = int(self._chance.of("uid") * (1 << 56)) << 72 | self.version
        meta["namespace"] = place.namespace
        meta["uid"] = str(uuid.UUID(int=number))
        meta["creationTimestamp"] = rfc3339(self._clock.now())[:-5] + "Z"
        if place.resource in COUNTED:
            meta["generation"] = 1
        if place.resource in WITH_STATUS:
            item.pop("status", None)
        if place.resource == "pods":
            item["status"] = {"phase": "Pending"}
        return self._write("ADDED", place, item, None)

    def replace(self, path: str, body: Json) -> Json:
        """PUT."""
        place = place_of(path)
        return self._update(place, self._held(place), _copy(body))

    def patch(self, path: str, patch: Any, content_type: str) -> Json:
        """PATCH, a merge patch or a JSON patch."""
        place = place_of(path)
        held = self._held(place)
        change = patched if content_type == JSON_PATCH else merged
        return self._update(place, held, change(_copy(held), patch))

    def change(self, item: Json, edit: Callable[[Json], None]) -> None:
        """A write of the cluster's own parts, status included; nothing if the object is gone."""
        held = self.by_uid(item["metadata"]["uid"])
        if held is not None:
            new = _copy(held)
            edit(new)
            self._commit(self._place(held), held, new)

    def delete(self, path: str, options: Json | None = None) -> Json:
        """DELETE."""
        place = place_of(path)
        held, options = self._held(place), options or {}
        meta = held["metadata"]
        for field, wanted in (options.get("preconditions") or {}).items():
            if meta[field] != wanted:
                raise ApiError(409, "Conflict", f"the {field} in the precondition isn't its own")
        new = _copy(held)
        meta = new["metadata"]
        if options.get("propagationPolicy") == "Foreground" and "deletionTimestamp" not in meta:
            meta["finalizers"] = [*meta.get("finalizers", ()), FOREGROUND]
        grace = self._grace(new, options)
        if not meta.get("finalizers") and not grace:
            self._remove(place, held)
            return {"kind": "Status", "status": "Success", "metadata": {}}
        if "deletionTimestamp" not in meta:
            meta["deletionTimestamp"] = rfc3339(self._clock.now())[:-5] + "Z"
            if "generation" in meta:
                meta["generation"] += 1
        if place.resource == "pods":
            meta["deletionGracePeriodSeconds"] = min(
                grace, meta.get("deletionGracePeriodSeconds", grace)
            )
        return self._commit(place, held, new)

    def _grace(self, item: Json, options: Json) -> int:
        """Seconds that a pod has to end; 0 for everything that needs none."""
        if item.get("kind") != "Pod" or not item["spec"].get("nodeName"):
            return 0
        if (item.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return 0
        own = item["spec"].get("terminationGracePeriodSeconds", 30)
        return int(options.get("gracePeriodSeconds", own))

    def _update(self, place: Place, held: Json, new: Json) -> Json:
        meta, kept = new["metadata"], held["metadata"]
        if meta.get("resourceVersion") not in (None, "", kept["resourceVersion"]):
            text = "the object has been modified; please apply your changes to the latest version"
            raise ApiError(409, "Conflict", text)
        if meta.get("uid") not in (None, kept["uid"]):
            raise ApiError(422, "Invalid", "metadata.uid: Invalid value: field is immutable")
        whole = place._replace(part="")
        if place.part == "status":
            return self._commit(whole, held, {**held, "status": new.get("status")})
        if place.resource in WITH_STATUS:
            new = {**new, "status": held["status"]} if "status" in held else _without_status(new)
        if "deletionTimestamp" in kept:
            more = set(meta.get("finalizers") or ()) - set(kept.get("finalizers") or ())
            if more:
                text = "no new finalizers can be added if the object is being deleted"
                raise ApiError(422, "Invalid", f"metadata.finalizers: Forbidden: {text}")
        _check_spec(place, held, new)
        return self._commit(whole, held, new)

    def _commit(self, place: Place, held: Json, new: Json) -> Json:
        """Write, if it is a change; and let go of what only waited for that."""
        kept = held["metadata"]
        meta = new["metadata"] = dict(new["metadata"])
        for field in ("uid", "name", "namespace", "creationTimestamp", "resourceVersion"):
            meta[field] = kept[field]
        if "deletionTimestamp" in kept:
            meta["deletionTimestamp"] = kept["deletionTimestamp"]
        if "generation" in kept and place.resource in COUNTED:
            seen = ("metadata", "status") if place.resource in WITH_STATUS else ("metadata",)
            changed = _but(held, seen) != _but(new, seen)
            meta["generation"] = max(kept["generation"] + changed, meta["generation"])
        if not meta.get("finalizers"):
            meta.pop("finalizers", None)
        if new == held:
            return _copy(held)
        gone = "deletionTimestamp" in meta and not meta.get("finalizers")
        if gone and not meta.get("deletionGracePeriodSeconds"):
            self._remove(place, {**new, "metadata": meta})
            return _copy(new)
        return self._write("MODIFIED", place, new, held)

    def _write(self, kind: str, place: Place, item: Json, before: Json | None) -> Json:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self._objects[place] = item
        self._places[item["metadata"]["uid"]] = place
        self._tell(Event(self.version, kind, place, item, before))
        return _copy(item)

    def _remove(self, place: Place, held: Json) -> None:
        before = self._objects.pop(place)
        del self._places[before["metadata"]["uid"]]
        self.version += 1
        last = {**held, "metadata": {**held["metadata"], "resourceVersion": str(self.version)}}
        self._tell(Event(self.version, "DELETED", place, last, before))

    def cut(self) -> None:
        """All watches are too old, from now on."""
        self.floor = self.version + 1
        self.cuts += 1
        for resource in list(self._waiting):
            for waiting in self._waiting.pop(resource):
                _settle(waiting)

    async def news(self, resource: str, seconds: float) -> None:
        """Wait for the next write to a resource, at most so many seconds."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        self._waiting[resource].append(waiting)
        timer = loop.call_later(seconds, _settle, waiting)
        try:
            await waiting
        finally:
            timer.cancel()
            if waiting in self._waiting[resource]:
                self._waiting[resource].remove(waiting)

    def _tell(self, event: Event) -> None:
        self.events[event.place.resource].append(event)
        self.times[event.version] = asyncio.get_running_loop().time()
        for waiting in self._waiting.pop(event.place.resource, ()):
            _settle(waiting)
        for listener in self.listeners:
            listener(event)

    def _held(self, place: Place) -> Json:
        item = self._objects.get(place._replace(part=""))
        if item is None:
            raise ApiError(404, "NotFound", f'{place.resource} "{place.name}" not found')
        return item

    def _place(self, item: Json) -> Place:
        return self._places[item["metadata"]["uid"]]


def _settle(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


def _check_spec(place: Place, held: Json, new: Json) -> None:
    """What the kinds' own rules (CEL) refuse."""
    if place.resource == "pipelineruns":
        free = ("suspend", "operation")
        if _but(held["spec"], free) != _but(new["spec"], free):
            raise ApiError(422, "Invalid", "spec: Invalid value: it is immutable")


def _but(item: Json, fields: Iterable[str]) -> Json:
    return {key: value for key, value in item.items() if key not in fields}


def _without_status(item: Json) -> Json:
    return _but(item, ("status",))


def _copy(item: Json) -> Json:
    """A copy through JSON: what isn't JSON couldn't be sent either."""
    copied: Json = json.loads(json.dumps(item))
    return copied
