"""Definitions on Kubernetes: the part of the store that keeps PipelineTasks and Pipelines.

Users' names aren't the objects' names (`names.py`), and with kubectl two objects may claim one name:
the oldest has it. So a name is looked up at the place where we would put it, and at every place where
the watch has seen it claimed; what is read there is read live.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from xaas_core.models.objects import Definition, DefinitionSpec
from xaas_core.ports import (
    AlreadyExists,
    Conflict,
    Idempotency,
    KeyReused,
    Kind,
    NotFound,
    Page,
    Query,
    Unusable,
)
from xaas_kube import definition_objects as objects
from xaas_kube.client import Json, KubeClient
from xaas_kube.errors import translated
from xaas_kube.informer import Informer
from xaas_kube.names import definition_name, digest
from xaas_kube.paging import created_within, page
from xaas_kube.words import Annotation, Label, path

TRIES: Final = 20
"""Guarded writes; each that fails met a status that was written, which isn't the user's business."""


class DefinitionIndex:
    """The sink of the informer of one kind: who claims which name."""

    def __init__(self) -> None:
        self.noticed: Callable[[Json], None] = lambda item: None
        """Called with an object that is new, has changed, or is gone, once that is known here."""
        self._items: dict[str, Json] = {}
        self._claims: defaultdict[tuple[str, str], set[str]] = defaultdict(set)

    def claims(self, namespace: str, name: str) -> list[Json]:
        """The objects that claim a name, the one that has it first."""
        uids = self._claims.get((namespace, name), ())
        return sorted((self._items[uid] for uid in uids), key=objects.age)

    def held(self, namespace: str) -> list[Json]:
        """The objects of a namespace that have the name that they claim."""
        return [
            self.claims(*place)[0]
            for place, uids in self._claims.items()
            if place[0] == namespace and uids
        ]

    def seen(self, item: Json) -> None:
        """See `informer.Sink`."""
        self._drop(item["metadata"]["uid"])
        self._items[item["metadata"]["uid"]] = item
        self._claims[_claim(item)].add(item["metadata"]["uid"])
        self.noticed(item)

    def gone(self, uid: str) -> None:
        """See `informer.Sink`."""
        item = self._drop(uid)
        if item is not None:
            self.noticed(item)

    def _drop(self, uid: str) -> Json | None:
        item = self._items.pop(uid, None)
        if item is not None:
            claims = self._claims[_claim(item)]
            claims.discard(uid)
            if not claims:
                del self._claims[_claim(item)]
        return item


def _claim(item: Json) -> tuple[str, str]:
    return (item["metadata"]["namespace"], objects.name_of(item))


class DefinitionStore:
    """What `ports.Store` says of definitions. `now` gives the next time of creation."""

    def __init__(
        self,
        client: KubeClient,
        indexes: Mapping[Kind, DefinitionIndex],
        informers: Mapping[Kind, Informer],
        now: Callable[[], str],
    ) -> None:
        self._client = client
        self._indexes = indexes
        self._informers = informers
        self._now = now

    async def create(
        self, kind: Kind, namespace: str, spec: DefinitionSpec, idempotency: Idempotency | None
    ) -> Definition[DefinitionSpec]:
        """Raises AlreadyExists, KeyReused, NotFound (no such namespace)."""
        if idempotency is not None:
            known = await self._recall(kind, namespace, idempotency)
            if known is not None:
                return objects.read(kind, known)
        if await self._holder(kind, namespace, spec.name) is not None:
            return await self._made_before(kind, namespace, spec, idempotency)
        own = definition_name(spec.name)
        # Its own place may be taken by an object that claims another name.
        for name in (own, f"{own[:240]}-{digest('aside', spec.name)}"):
            body = objects.new(kind, name, spec, self._now())
            if idempotency is not None:
                body = objects.keyed(body, namespace, idempotency)
            try:
                with translated(f"{kind} {spec.name!r}"):
                    made = await self._client.create(path(objects.RESOURCES[kind], namespace), body)
            except AlreadyExists:
                if await self._holder(kind, namespace, spec.name) is not None:
                    return await self._made_before(kind, namespace, spec, idempotency)
                continue
            self._informers[kind].tell(made)
            return objects.read(kind, made)
        raise AlreadyExists(f"the places of {kind} {spec.name!r} are taken by other objects")

    async def _made_before(
        self, kind: Kind, namespace: str, spec: DefinitionSpec, idempotency: Idempotency | None
    ) -> Definition[DefinitionSpec]:
        """The object of that name, if the same POST made it a moment ago. Raises AlreadyExists."""
        known = None if idempotency is None else await self._recall(kind, namespace, idempotency)
        if known is None or objects.name_of(known) != spec.name:
            raise AlreadyExists(f"there is a {kind} {spec.name!r} already")
        return objects.read(kind, known)

    async def get(self, kind: Kind, namespace: str, name: str) -> Definition[DefinitionSpec]:
        """Raises NotFound, and Unusable for an object that isn't valid."""
        item = await self._holder_or_error(kind, namespace, name)
        try:
            return objects.read(kind, item)
        except objects.Unreadable as error:
            raise Unusable(f"the {kind} {name!r} isn't valid: {error}") from None

    def list(self, kind: Kind, namespace: str, query: Query) -> Page[Definition[DefinitionSpec]]:
        """Newest first. Raises ValueError for an `after` that is none of ours."""
        found = []
        for item in self._indexes[kind].held(namespace):
            try:
                definition = objects.read(kind, item)
            except objects.Unreadable:
                continue  # its `Ready` condition says so
            fits = query.category in (None, definition.spec.category)
            if fits and created_within(definition.meta.created_at, query):
                found.append((objects.created(item), definition.meta.uid, definition))
        return page(found, query)

    async def replace(
        self, kind: Kind, namespace: str, spec: DefinitionSpec, if_match: str | None
    ) -> Definition[DefinitionSpec]:
        """Raises NotFound; Conflict if `if_match` isn't its version."""
        revision = uuid.uuid4().hex[:8]
        for _ in range(TRIES):
            item = await self._holder_or_error(kind, namespace, spec.name)
            _check_version(kind, item, if_match)
            where = path(objects.RESOURCES[kind], namespace, item["metadata"]["name"])
            try:
                with translated(f"{kind} {spec.name!r}"):
                    written = await self._client.replace(
                        where, objects.replaced(item, spec, revision)
                    )
            except Conflict:
                continue
            self._informers[kind].tell(written)
            return objects.read(kind, written)
        raise Conflict(f"{kind} {spec.name!r} is written again and again by others")

    async def delete(self, kind: Kind, namespace: str, name: str, if_match: str | None) -> None:
        """Raises NotFound; Conflict if `if_match` isn't its version."""
        for _ in range(TRIES):
            item = await self._holder_or_error(kind, namespace, name)
            _check_version(kind, item, if_match)
            meta = item["metadata"]
            guard = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
            where = path(objects.RESOURCES[kind], namespace, meta["name"])
            try:
                with translated(f"{kind} {name!r}"):
                    await self._client.delete(where, {"preconditions": guard})
            except Conflict:
                continue
            self._informers[kind].forget(meta["uid"], int(meta["resourceVersion"]))
            return
        raise Conflict(f"{kind} {name!r} is written again and again by others")

    async def _holder_or_error(self, kind: Kind, namespace: str, name: str) -> Json:
        item = await self._holder(kind, namespace, name)
        if item is None:
            raise NotFound(f"there is no {kind} {name!r}")
        return item

    async def _holder(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """The object that has a name, read live; None if none claims it."""
        places = {definition_name(name)}
        places |= {item["metadata"]["name"] for item in self._indexes[kind].claims(namespace, name)}
        found = await asyncio.gather(*(self._read(kind, namespace, each) for each in places))
        claims = [item for item in found if item is not None and objects.name_of(item) == name]
        return min(claims, key=objects.age, default=None)

    async def _read(self, kind: Kind, namespace: str, place: str) -> Json | None:
        try:
            with translated(f"{kind} {place!r}"):
                return await self._client.get(path(objects.RESOURCES[kind], namespace, place))
        except NotFound:
            return None

    async def _recall(self, kind: Kind, namespace: str, idempotency: Idempotency) -> Json | None:
        """The object that was made with a key; None for a new one. Raises KeyReused."""
        selector = f"{Label.KEY}={objects.key_label(namespace, idempotency.key)}"
        with translated(f"{kind}s"):
            found = await self._client.get(
                path(objects.RESOURCES[kind], namespace), {"labelSelector": selector}
            )
        for item in found["items"]:
            annotations = item["metadata"].get("annotations") or {}
            if annotations.get(Annotation.BODY) != idempotency.digest:
                raise KeyReused(
                    f"the Idempotency-Key {idempotency.key!r} came before, with another body"
                )
            made: Json = item
            return made
        return None


def _check_version(kind: Kind, item: Json, if_match: str | None) -> None:
    if if_match is not None and if_match != objects.version(item):
        name = objects.name_of(item)
        raise Conflict(f"{kind} {name!r} is at version {objects.version(item)}, not {if_match}")
