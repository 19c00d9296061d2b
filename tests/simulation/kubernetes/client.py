"""The client of one simulated process: requests take time, may be lost, and may be its last.

It has the methods of `xaas_kube.client.KubeClient`. The API server's part is done in one moment,
some time after the request was sent and some time before its answer arrives. A client whose process
is dead does nothing any more and never answers: so what a dying task still does in its `finally`
comes to nothing, as if the process had been killed.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextvars import copy_context
from typing import Any

from tests.simulation.kubernetes.api_requests import Selector, place_of
from tests.simulation.kubernetes.api_server import ApiServer, Event
from tests.simulation.kubernetes.kube_weather import Fate, KubeWeather
from tests.simulation.kubernetes.virtual_loop import Process, later

from xaas_kube.client import (
    JSON,
    MERGE_PATCH,
    METADATA,
    REQUEST_WITHIN,
    ApiError,
    Json,
    Params,
    Unreachable,
    verb_and_resource,
)

BOOKMARK_EVERY = 60.0
RESET_AFTER = 0.3


class SimulatedClient:
    """Requests of `process`. Those of one that has no `crash`, which ends it, are always answered;
    its watches have the same troubles as all others."""

    def __init__(
        self,
        server: ApiServer,
        process: Process,
        weather: KubeWeather,
        crash: Callable[[], None] | None = None,
    ) -> None:
        self._server = server
        self._process = process
        self._weather = weather
        self._crash = crash
        self._calm = weather.calm()
        self.sent: Counter[tuple[str, str]] = Counter()

    async def close(self) -> None:
        """Nothing is open."""

    async def get(self, path: str, params: Params | None = None, accept: str = JSON) -> Json:
        """See KubeClient."""
        return await self._send("GET", path, lambda: self._server.get(path, params, accept))

    async def create(self, path: str, body: Json, params: Params | None = None) -> Json:
        """See KubeClient."""
        return await self._send("POST", path, lambda: self._server.create(path, body))

    async def create_plainly(self, path: str, body: Json) -> Json:
        """See KubeClient."""
        return await self.create(path, body)

    async def replace(self, path: str, body: Json) -> Json:
        """See KubeClient."""
        return await self._send("PUT", path, lambda: self._server.replace(path, body))

    async def patch(self, path: str, body: Any, content_type: str = MERGE_PATCH) -> Json:
        """See KubeClient."""
        return await self._send("PATCH", path, lambda: self._server.patch(path, body, content_type))

    async def delete(self, path: str, options: Json | None = None) -> Json:
        """See KubeClient."""
        return await self._send("DELETE", path, lambda: self._server.delete(path, options))

    async def text(self, path: str, params: Params | None = None) -> AsyncIterator[bytes]:
        """Logs aren't played."""
        raise ApiError(404, "NotFound", path)
        yield b""

    async def watch(
        self, path: str, params: Params, quiet: float, accept: str = JSON
    ) -> AsyncIterator[Json]:
        """See KubeClient."""
        weather, name = self._weather, self._process.name
        label = f"WATCH {path} {params.get('labelSelector') or ''}"
        self._count("watch", verb_and_resource("GET", path, None)[1])
        await self._alive()
        await asyncio.sleep(weather.chance.between(0.001, 0.004, name, label))
        if weather.may(weather.faults.unavailable, name, label, "refused"):
            raise Unreachable("as played: no answer")
        watch = _Watch(self._server, path, params, accept == METADATA)
        end, within = weather.watch_fate(name, label)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + (
            within if end and self._crash else float(params["timeoutSeconds"] or 300)
        )
        arrives = bookmark = loop.time()
        while True:
            await self._alive()
            watch.check()
            event = watch.next()
            if event is None:
                until = min(ends_at, bookmark + BOOKMARK_EVERY)
                await watch.news(until - loop.time())
                if loop.time() >= ends_at:
                    break
                if loop.time() >= bookmark + BOOKMARK_EVERY:
                    bookmark = loop.time()
                    yield watch.bookmark()
                continue
            arrives = max(arrives, watch.came + weather.delay(name, label, loop.time()))
            if arrives > ends_at:
                break
            if arrives > loop.time():
                await asyncio.sleep(arrives - loop.time())
            await self._alive()
            yield event
        await self._end(end, quiet, watch)
        if end == "repeats":
            for event in watch.again():
                yield event

    async def _end(self, kind: str, quiet: float, watch: "_Watch") -> None:
        if kind == "mute":
            await asyncio.sleep(quiet)
            raise Unreachable("as played: the watch was dead")
        if kind == "old":
            self._server.floor = self._server.version
        if kind == "cut" and self._weather.chance.may(0.5, self._process.name, "how it is cut"):
            raise ApiError(500, "InternalError", "as played")

    # --------------------------------------------------------------------------------------- within

    def _count(self, verb: str, resource: str) -> None:
        self.sent[verb, resource] += 1
        if self._crash is not None:
            self._server.asked[verb, resource] += 1

    async def _send(self, method: str, path: str, do: Callable[[], Json]) -> Json:
        self._count(*verb_and_resource(method, path, None))
        await self._alive()
        label = f"{method} {path}"
        self._weather.note("%s", label)
        weather = self._weather if self._crash is not None else self._calm
        fate = weather.fate(self._process.name, label)
        await self._point(label)
        try:
            await asyncio.sleep(fate.before)
        except asyncio.CancelledError:
            self._arrives_later(label, do)
            raise
        await self._alive()
        answer = self._do(do, fate, label)
        await self._alive()  # it may have died of what it has just caused
        await self._point(f"after {label}")
        await asyncio.sleep(fate.after)
        await self._fail(fate, label)
        if isinstance(answer, ApiError):
            raise answer
        assert answer is not None
        return answer

    def _do(self, do: Callable[[], Json], fate: Fate, label: str) -> Json | ApiError | None:
        if fate.later is not None:
            later(fate.later, lambda: self._quietly(do, label), copy_context())
        if not fate.done:
            return None
        try:
            return do()
        except ApiError as error:
            return error

    async def _fail(self, fate: Fate, label: str) -> None:
        error = fate.error
        if error == "timeout":
            await asyncio.sleep(REQUEST_WITHIN)
        elif error == "reset":
            await asyncio.sleep(RESET_AFTER)
        if error in ("timeout", "reset"):
            raise Unreachable(f"as played: {error} of {label}")
        if error:
            reasons = {"429": "TooManyRequests", "503": "ServiceUnavailable", "504": "Timeout"}
            details = {"retryAfterSeconds": 1} if error == "429" else {}
            raise ApiError(int(error), reasons.get(error, "InternalError"), "as played", details)

    async def _point(self, label: str) -> None:
        if self._crash is None:
            return
        strike = self._weather.point(self._process.name, label)
        if strike == "crash":
            self._crash()
            await self._alive()
        if strike == "lose":
            raise Unreachable(f"as played: no answer to {label}")

    def _arrives_later(self, label: str, do: Callable[[], Json]) -> None:
        """A request that was under way when its process died may still arrive."""
        weather = self._weather
        if self._process.alive or not weather.may(weather.faults.zombie, label, "zombie"):
            return
        seconds = weather.chance.between(0.0, 3.0, label, "zombie")
        later(seconds, lambda: self._quietly(do, label), copy_context())

    def _quietly(self, do: Callable[[], Json], label: str) -> None:
        self._weather.note("late: %s", label)
        try:
            do()
        except ApiError as error:
            self._weather.note("late, refused: %s", error)

    async def _alive(self) -> None:
        if not self._process.alive:
            await asyncio.get_running_loop().create_future()


class _Watch:
    """Where a watch has got to."""

    def __init__(self, server: ApiServer, path: str, params: Params, metadata_only: bool) -> None:
        self._server = server
        self._place = place_of(path)
        self._selector = Selector.read(params)
        self._metadata_only = metadata_only
        self._events = server.events[self._place.resource]
        self._at = int(str(params["resourceVersion"]))
        self._told: list[Json] = []
        self._cuts = server.cuts
        self.came = 0.0
        if self._at < server.floor:
            raise ApiError(410, "Expired", "too old resource version")
        self._next = len(self._events)
        while self._next and self._events[self._next - 1].version > self._at:
            self._next -= 1

    def next(self) -> Json | None:
        """The next event that is selected; None if there is none yet."""
        while self._next < len(self._events):
            event = self._events[self._next]
            self._next += 1
            self._at = event.version
            self.came = self._server.times[event.version]
            told = self._selected(event)
            if told is not None:
                self._told.append(told)
                return told
        self._at = max(self._at, self._server.version)
        return None

    def check(self) -> None:
        """Raise ApiError if this watch was cut off as too old."""
        if self._cuts != self._server.cuts:
            raise ApiError(410, "Expired", "too old resource version")

    def again(self) -> list[Json]:
        """Some of what was told, told again."""
        return [_copied(event) for event in self._told[-5:]]

    def bookmark(self) -> Json:
        """How far it has got."""
        meta = {"resourceVersion": str(self._at)}
        return {"type": "BOOKMARK", "object": {"metadata": meta}}

    async def news(self, seconds: float) -> None:
        """Wait until there may be one."""
        await self._server.news(self._place.resource, max(seconds, 0.0))

    def _selected(self, event: Event) -> Json | None:
        if self._place.namespace not in (None, event.place.namespace):
            return None
        fits = self._selector.fits
        before = event.before is not None and fits(event.before["metadata"])
        now = event.kind != "DELETED" and fits(event.item["metadata"])
        if not before and not now:
            return None
        item = event.item
        if before and not now and event.kind != "DELETED":
            # No longer selected: its last selected state, in the version of the write.
            assert event.before is not None
            version = {"resourceVersion": str(event.version)}
            item = {**event.before, "metadata": {**event.before["metadata"], **version}}
        kind = "MODIFIED" if before and now else "ADDED" if now else "DELETED"
        if self._metadata_only:
            item = {"metadata": item["metadata"]}
        return _copied({"type": kind, "object": item})


def _copied(event: Json) -> Json:
    copy: Json = json.loads(json.dumps(event))
    return copy
