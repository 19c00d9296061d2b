"""The pool: idle runners, up before there is work for them.

Theory of operation. An idle runner is a Job like any other, of a *shape* (everything of its pod that a
task decides), but without a run; its token opens nothing but the question whether there is work. One is
given to an attempt by a single guarded write to its Job, which takes the mark off that it is idle and
names run, task run, attempt and launch, as the labels of every runner's Job do, and the run as its
owner. From there on it is that runner; the gateway tells it so, with the attempt's token. Whoever
crashes where, the Job says what it is for. So a runner serves one attempt, and ends.

The pool of a shape is filled up some time after one was used, when nothing else is to be started, and
only if its like was used lately. One that waits too long leaves by itself (`Environment.MAX_WAIT`).

Every replica watches these Jobs, for runners ask any of them; the leader alone takes and fills up.
"""

import asyncio
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from xaas_core.long_polls import LongPolls
from xaas_core.ports import Clock, LaunchOrder, RunnerKey
from xaas_core.tokens import IdleRunner
from xaas_kube import times
from xaas_kube.client import JSON_PATCH, ApiError, Json, KubeClient, Unreachable
from xaas_kube.informer import Informer
from xaas_kube.jobs import JobSettings, assignment, idle_job, may_be_pooled, shape_of
from xaas_kube.run_index import KnownRun
from xaas_kube.sightings import is_ours, read_job
from xaas_kube.words import Label, jobs

SETTLED: Final = 1.0
"""Seconds without a launch after which pools are filled up: what there is work for comes first."""

AT_ONCE: Final = 4
"""Idle runners that are made at once."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Idle:
    """An idle runner's Job. `created`: milliseconds since 1970."""

    uid: str
    namespace: str
    name: str
    shape: str
    created: int


@dataclass
class Wish:
    """A shape that was used, an order of that shape, and when (seconds of the loop's clock)."""

    order: LaunchOrder
    used_at: float


class Pool:
    """The idle runners of the cluster. The sink of the informer of their Jobs."""

    def __init__(
        self,
        client: KubeClient,
        settings: JobSettings,
        gateway: str,
        issue: Callable[[IdleRunner], str],
        clock: Clock,
        polls: LongPolls | None = None,
    ) -> None:
        self._client = client
        self._polls = polls or LongPolls()
        self._clock = clock
        self._settings = settings
        self._gateway = gateway
        self._issue = issue
        self._idle: dict[str, Idle] = {}
        self._given: dict[tuple[str, str], tuple[str, RunnerKey]] = {}
        self._news: defaultdict[tuple[str, str], asyncio.Event] = defaultdict(asyncio.Event)
        self._wishes: dict[tuple[str, str], Wish] = {}
        self._used_at = 0.0
        self.informer = Informer(client, jobs(None), self, Label.POOL.value)

    @property
    def idle(self) -> int:
        """How many idle runners there are."""
        return len(self._idle)

    # ----------------------------------------------------------------------- what runners ask

    async def work(self, idle: IdleRunner, patience: float) -> RunnerKey | None:
        """What an idle runner is for from now on; None if it still isn't after `patience` seconds."""
        place = (idle.namespace, idle.name)
        news = self._news[place]
        try:
            async with self._polls.within(patience):
                while place not in self._given:
                    await news.wait()
        except TimeoutError:
            return None
        finally:
            if place not in self._given and place not in self._places():
                self._news.pop(place, None)
        return self._given[place][1]

    # ------------------------------------------------------------------------- what the leader does

    async def take(self, order: LaunchOrder, run: KnownRun) -> Json | None:
        """The Job of an idle runner, given to `order`; None if there is none. Raises Unreachable."""
        if not self._settings.pool or not may_be_pooled(order):
            return None
        shape = shape_of(order, self._settings)
        now = self._used_at = asyncio.get_running_loop().time()
        self._wishes[run.namespace, shape] = Wish(order, now)
        while (idle := self._oldest(run.namespace, shape)) is not None:
            # Nobody else is to take it meanwhile, whatever becomes of it.
            del self._idle[idle.uid]
            age = max(self._clock.now() - idle.created, 0) // 1000
            patch = assignment(order, run, self._settings, age)
            try:
                given = await self._client.patch(jobs(idle.namespace, idle.name), patch, JSON_PATCH)
            except ApiError as error:
                log.info("the idle runner %s can't be used: %s", idle.name, error)
                continue
            self.informer.tell(given)
            return given
        return None

    async def keep(self) -> None:
        """Fill the pools up, for ever."""
        while True:
            await asyncio.sleep(SETTLED)
            now = asyncio.get_running_loop().time()
            if self._wishes and now - self._used_at >= SETTLED:
                await self._fill_up(now)

    async def _fill_up(self, now: float) -> None:
        for place, wish in list(self._wishes.items()):
            if now - wish.used_at > self._settings.max_wait:
                del self._wishes[place]
                continue
            there = sum((each.namespace, each.shape) == place for each in self._idle.values())
            for _ in range(min(self._settings.pool - there, AT_ONCE)):
                if not await self._make(*place, wish.order):
                    return

    async def _make(self, namespace: str, shape: str, order: LaunchOrder) -> bool:
        name = f"xaas-idle-{uuid.uuid4().hex[:16]}"
        idle = IdleRunner(namespace, name)
        token = self._issue(idle)
        body = idle_job(order, idle, token, self._settings, self._gateway)
        try:
            self.informer.tell(await self._client.create(jobs(namespace), body))
        except (ApiError, Unreachable) as error:
            # A quota that is used up, or a namespace that goes: the pool is no right.
            log.info("no idle runner can be made in %s: %s", namespace, error)
            self._wishes.pop((namespace, shape), None)
            return False
        return True

    def _oldest(self, namespace: str, shape: str) -> Idle | None:
        fitting = (
            each
            for each in self._idle.values()
            if (each.namespace, each.shape) == (namespace, shape)
        )
        return min(fitting, key=lambda each: (each.created, each.name), default=None)

    def _places(self) -> set[tuple[str, str]]:
        return {(each.namespace, each.name) for each in self._idle.values()}

    # ----------------------------------------------------------------------------- what is seen

    def seen(self, item: Json) -> None:
        """See `informer.Sink`."""
        meta = item["metadata"]
        place = (meta["namespace"], meta["name"])
        self._idle.pop(meta["uid"], None)
        if Label.IDLE in meta["labels"]:
            if not _ends(item):
                self._idle[meta["uid"]] = Idle(
                    meta["uid"],
                    *place,
                    meta["labels"][Label.POOL],
                    times.read(meta["creationTimestamp"]) or 0,
                )
        elif is_ours(item):
            job = read_job(item)
            key = RunnerKey(job.run, *job.key, job.attempt, job.launch)
            self._given[place] = (meta["uid"], key)
            self._news[place].set()

    def gone(self, uid: str) -> None:
        """See `informer.Sink`."""
        self._idle.pop(uid, None)
        for place in [place for place, (known, _) in self._given.items() if known == uid]:
            del self._given[place]
            self._news.pop(place, None)


def _ends(item: Json) -> bool:
    """Whether an idle runner's Job is of no use any more."""
    status = item.get("status") or {}
    over = any(
        each["type"] in ("Complete", "Failed", "FailureTarget", "SuccessCriteriaMet")
        and each["status"] == "True"
        for each in status.get("conditions") or ()
    )
    return over or "deletionTimestamp" in item["metadata"]
