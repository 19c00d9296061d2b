"""The launcher on Kubernetes: one Job for each launch, one container for each step.

Theory of operation. A Job's name is a function of what it runs, so asking for it twice makes one Job.
What becomes of it is watched: Jobs and pods tell what a runner can't report itself. That a runner is
gone is never concluded from a watch alone: what isn't seen is asked for, live.

A runner is ended in one of two ways. One whose containers run gets a deadline in the past: the kubelet
stops it as it would at any deadline (SIGTERM, the pod's grace period, SIGKILL), and the pod stays, with
its logs. One that hasn't started has no kubelet to do that; its Job is deleted. One that has begun a step
runs, though a busy node may tell so seconds later.

Nothing here has to survive a restart: it is read anew.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from xaas_core.engine.facts import Key, Phase, Sighting
from xaas_core.engine.states import Reason
from xaas_core.ports import LaunchOrder, NotFound, RunnerKey, Unavailable
from xaas_kube.client import ApiError, Json, KubeClient, Unreachable
from xaas_kube.errors import is_too_large, translated
from xaas_kube.explanations import Explanations
from xaas_kube.informer import Informer
from xaas_kube.jobs import (
    JobSettings,
    belongs,
    job,
    job_name,
    pod_marks,
    released,
    runner_of,
)
from xaas_kube.pool import Pool
from xaas_kube.run_index import KnownRun
from xaas_kube.seen_runners import SeenRunners
from xaas_kube.sightings import SeenJob, SeenPod, is_ours
from xaas_kube.words import MANAGER, Label, jobs, pods

SELECTOR: Final = f"{Label.MANAGED_BY}={MANAGER},{Label.COMPONENT}=step"

ABSENT_FOR: Final = 1.0
"""Seconds for which one that isn't there needn't be asked for again: no longer, for another replica that
thinks it leads may have started it meanwhile."""

MARK_EVERY: Final = 2.0
MARK_AT_LEAST_EVERY: Final = 30.0
"""Seconds between looks at pods that don't say yet what they are for: when nothing was started
lately, and when there always is something."""

AGAIN: Final = 2.0
"""Seconds until a Job is asked for again that the namespace has no room for."""

log = logging.getLogger(__name__)


class JobLauncher:
    """Implements `xaas_core.ports.Launcher`. From one event loop, between `start_up` and `close`.

    `where` says where a run lies; `gateway` is the address that runners call.
    """

    def __init__(
        self,
        client: KubeClient,
        where: Callable[[str], KnownRun | None],
        settings: JobSettings,
        gateway: str,
        pool: Pool | None = None,
    ) -> None:
        self._client = client
        self._where = where
        self._settings = settings
        self._gateway = gateway
        self._pool = pool
        self._subscribers: list[Callable[[str], None]] = []
        self._seen = SeenRunners(self._changed)
        self._jobs = Informer(client, jobs(None), self._seen.jobs, SELECTOR)
        self._pods = Informer(client, pods(None), self._seen.pods, SELECTOR)
        self._refused: dict[RunnerKey, str] = {}
        self._held_up: dict[RunnerKey, str] = {}
        self._absent: dict[RunnerKey, float] = {}  # when that was asked
        self._ahead: set[RunnerKey] = set()
        self._preparing: set[RunnerKey] = set()  # those of them whose Job is being made
        self._starting: dict[RunnerKey, asyncio.Task[None]] = {}
        self._started_at = 0.0
        self._not_before: dict[RunnerKey, float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start_up(self) -> None:
        """Watch, and wait until everything was listed once."""
        informers = (self._jobs, self._pods)
        self._tasks = [asyncio.create_task(each.run(), name="informer") for each in informers]
        explanations = Explanations(self._client, self._seen)
        self._tasks.append(asyncio.create_task(explanations.look(), name="explain"))
        self._tasks.append(asyncio.create_task(self._mark(), name="mark"))
        tasks = self._tasks[: len(informers)]
        await asyncio.gather(
            *(each.until_synced(task) for each, task in zip(informers, tasks, strict=True))
        )

    async def failed(self) -> None:
        """Wait until a part ends, which none ever should, and raise its error."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def close(self) -> None:
        """Watch no more. Runners go on, and report to whoever comes next."""
        tasks = [*self._tasks, *self._starting.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # ----------------------------------------------------------------------------------- the port

    async def start(self, *orders: LaunchOrder) -> None:
        """See the port. Returns at once: what is being started is sighted as if it were there, and
        the next decision needn't wait for it."""
        now = self._started_at = asyncio.get_running_loop().time()
        for order in orders:
            runner = runner_of(order)
            if runner not in self._starting and now >= self._not_before.get(runner, now):
                starting = asyncio.create_task(self._start(order), name=f"start {runner}")
                self._starting[runner] = starting
                starting.add_done_callback(partial(self._started, runner))

    def _started(self, runner: RunnerKey, starting: asyncio.Task[None]) -> None:
        """It was tried to start a runner. If that failed for now, the run is to be looked at again."""
        del self._starting[runner]
        if starting.cancelled():
            return
        error = starting.exception()
        if error is not None:
            defect = None if isinstance(error, Unavailable) else error
            log.warning("the Job %s isn't made: %s", job_name(runner), error, exc_info=defect)
            self._try_later(runner)

    def _try_later(self, runner: RunnerKey) -> None:
        loop = asyncio.get_running_loop()
        self._not_before[runner] = loop.time() + AGAIN
        loop.call_later(AGAIN + 0.05, self._changed, runner.run)  # surely not before that

    async def _until_started(self, runners: Collection[RunnerKey]) -> None:
        """Wait until it is known what became of those that are being started."""
        starting = [self._starting[each] for each in runners if each in self._starting]
        if starting:
            await asyncio.wait(starting)

    async def prepare(self, *orders: LaunchOrder) -> None:
        """See the port: so many at a time as the settings allow, and no more than there is room for."""
        self._ahead = {e for e in self._ahead if e in self._preparing or self._is_up(e)}
        chosen = []
        for order in orders:
            runner = runner_of(order)
            if self._is_up(runner):
                self._ahead.add(runner)  # also one that whoever led before has started
            elif self._job(runner) is None and len(self._ahead) < self._settings.lookahead:
                self._ahead.add(runner)
                self._preparing.add(runner)
                chosen.append(order)
        await asyncio.gather(*map(self._start_ahead, chosen))

    async def _start_ahead(self, order: LaunchOrder) -> None:
        run, runner = self._where(order.run), runner_of(order)
        try:
            if run is not None:
                self._jobs.tell(await self._create(order, run))
        except (ApiError, Unreachable) as error:
            # When its turn comes it is tried again, and what is wrong is told.
            self._ahead.discard(runner)
            log.info("the Job %s can't be made ahead: %s", job_name(runner), error)
        finally:
            self._preparing.discard(runner)

    def _is_up(self, runner: RunnerKey) -> bool:
        """Whether a runner is there, and hasn't ended."""
        seen = self._job(runner)
        return seen is not None and not seen.finished and not seen.deleting

    @property
    def ahead(self) -> int:
        """How many runners wait for their turn, having been started ahead of it."""
        return len(self._ahead)

    async def _start(self, order: LaunchOrder) -> None:
        runner = runner_of(order)
        run = self._where(order.run)
        if run is None or self._job(runner) is not None or runner in self._refused:
            self._not_before.pop(runner, None)
            return
        # Whether it is made is not known from here on, whatever the answer is.
        self._absent.pop(runner, None)
        try:
            made = await self._of_pool(order, run) or await self._create(order, run)
        except ApiError as error:
            self._not_made(runner, error)
            return
        except Unreachable as error:
            raise Unavailable(str(error)) from error
        was_held_up = self._held_up.pop(runner, None) is not None
        self._not_before.pop(runner, None)
        with self._seen.expected():
            self._jobs.tell(made)
        seen = self._job(runner)
        expected = Sighting(runner.attempt, runner.launch, Phase.LIVE)
        if was_held_up or seen is None or self._seen.told(seen) != expected:
            self._changed(
                runner.run
            )  # it waits no more; or was made before, and more is known of it

    async def end(self, runner: RunnerKey, grace: int, *, begun: bool = False) -> None:
        """See the port. The grace period is in the pod since it was made."""
        await self._until_started([runner])
        run = self._where(runner.run)
        if run is None:
            return
        seen = self._job(runner)
        name = job_name(runner) if seen is None else seen.name
        found = self._seen.pods_of(run.namespace, name)
        if begun and not found:
            found = await self._pods_now(run.namespace, name)
        if found and (begun or any(pod.started for pod in found if not pod.over)):
            for pod in found:
                if not pod.over and not pod.ending:
                    await self._stop(pod)
            return
        if seen is None or not seen.deleting:
            await self._delete(run.namespace, name)

    async def sight(self, run: str, runners: Collection[RunnerKey]) -> dict[Key, Sighting]:
        """See the port. An older runner of a task run is told as long as it lives."""
        known = self._where(run)
        if known is None:
            # Put aside, or gone: there is nothing to decide. If it comes (back), that is told.
            raise NotFound(f"the run {run} isn't watched")
        self._ahead.difference_update(runners)  # their turn has come
        told = {(each.ref, each.side): await self._sight(known, each) for each in runners}
        return self._seen.standing(run, known.namespace) | told

    async def release(self, runner: RunnerKey) -> None:
        """See the port: Kubernetes removes a finished Job after a while, if it is told to."""
        for seen in self._jobs_of(runner):
            over = all(pod.over for pod in self._seen.pods_of(seen.namespace, seen.name))
            if over and not seen.released and not seen.deleting:
                where, patch = jobs(seen.namespace, seen.name), released(self._settings)
                await self._patch(where, seen.uid, patch, self._jobs)

    async def forget(self, run: str) -> None:
        """See the port: Jobs and pods belong to the run, and go with it.

        Raises Unavailable while any of them lives: with the run's records gone (deleted in the
        foreground, what a run owns goes first) nobody but us knows of it.
        """
        await self._until_started([each for each in self._starting if each.run == run])
        alive = self._seen.alive(run)
        for namespace, name in {(pod.namespace, pod.job) for pod in alive}:
            await self._delete(namespace, name)
        if alive:
            raise Unavailable(f"{len(alive)} runners of the run {run} are still being stopped")
        for memory in (self._refused, self._held_up, self._not_before, self._absent):
            for runner in [each for each in memory if each.run == run]:
                del memory[runner]

    def subscribe(self, changed: Callable[[str], None]) -> None:
        """See the port."""
        self._subscribers.append(changed)

    # ------------------------------------------------------------------------------------ starting

    async def _of_pool(self, order: LaunchOrder, run: KnownRun) -> Json | None:
        """The Job of an idle runner, given to an order, if there is one. Raises Unreachable."""
        return None if self._pool is None else await self._pool.take(order, run)

    async def _mark(self) -> None:
        """Have the pods of Jobs that were idle say what they are for now, as those of others do; for
        ever. Nothing depends on it: so it comes when nothing else is to be done, or after a while."""
        clock = asyncio.get_running_loop().time
        marked_at = clock()
        while True:
            await asyncio.sleep(MARK_EVERY)
            if (
                clock() - self._started_at < MARK_EVERY
                and clock() - marked_at < MARK_AT_LEAST_EVERY
            ):
                continue
            marked_at = clock()
            for seen in self._seen.unmarked():
                try:
                    marks = pod_marks(await self._client.get(jobs(seen.namespace, seen.name)))
                    for pod in self._seen.pods_of(seen.namespace, seen.name):
                        path = pods(pod.namespace, pod.name)
                        self._pods.tell(await self._client.patch(path, marks))
                except (ApiError, Unreachable) as error:
                    log.info("the pods of %s can't be marked yet: %s", seen.name, error)

    async def _create(self, order: LaunchOrder, run: KnownRun) -> Json:
        """Make the Job, or find the one that was made before. Raises ApiError, Unreachable."""
        body = job(order, run, self._settings, self._gateway)
        try:
            return await self._client.create(jobs(run.namespace), body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        found = await self._client.get(jobs(run.namespace, body["metadata"]["name"]))
        if not belongs(found, order):
            text = f"there is a Job {body['metadata']['name']!r} that isn't this run's"
            raise ApiError(422, "Invalid", text)
        return found

    def _not_made(self, runner: RunnerKey, error: ApiError) -> None:
        """Raises Unavailable for what may pass and says nothing of this Job."""
        if error.code in (400, 413, 422) or is_too_large(error):
            self._refused[runner] = error.message
            self._changed(runner.run)
        elif error.code in (403, 404):  # a quota that is used up; a namespace that is being deleted
            self._held_up[runner] = error.message
            self._try_later(runner)
        else:
            raise Unavailable(f"the Job {job_name(runner)} can't be made: {error}") from error

    # -------------------------------------------------------------------------------------- ending

    async def _pods_now(self, namespace: str, name: str) -> list[SeenPod]:
        """The pods of a Job, read live. Raises Unavailable."""
        selector = {"labelSelector": f"{SELECTOR},{Label.JOB}={name}"}
        with translated(f"pods of {name!r}"):
            found = await self._client.get(pods(namespace), selector)
        for item in found["items"]:
            self._pods.tell(item)
        return self._seen.pods_of(namespace, name)

    async def _stop(self, pod: SeenPod) -> None:
        await self._patch(
            pods(pod.namespace, pod.name),
            pod.uid,
            {"spec": {"activeDeadlineSeconds": 1}},
            self._pods,
        )

    async def _patch(self, path: str, uid: str, patch: Json, informer: Informer) -> None:
        try:
            with translated(path):
                guarded = {**patch, "metadata": {**patch.get("metadata", {}), "uid": uid}}
                patched = await self._client.patch(path, guarded)
        except NotFound:
            return
        informer.tell(patched)

    async def _delete(self, namespace: str, name: str) -> None:
        try:
            with translated(f"Job {name!r}"):
                # In the foreground: the Job is there until its pods are gone.
                await self._client.delete(
                    jobs(namespace, name), {"propagationPolicy": "Foreground"}
                )
        except NotFound:
            return

    # -------------------------------------------------------------------------------------- seeing

    def _jobs_of(self, runner: RunnerKey) -> list[SeenJob]:
        """The Jobs of a runner's task run, the oldest launch first."""
        run = self._where(runner.run)
        key = (runner.ref, runner.side)
        return [] if run is None else self._seen.of(runner.run, key, run.namespace)

    def _job(self, runner: RunnerKey) -> SeenJob | None:
        for seen in self._jobs_of(runner):
            if (seen.attempt, seen.launch) == (runner.attempt, runner.launch):
                return seen
        return None

    async def _sight(self, run: KnownRun, runner: RunnerKey) -> Sighting:
        held = False
        for seen in self._jobs_of(runner):
            told = self._seen.told(seen)
            if (seen.attempt, seen.launch) == (runner.attempt, runner.launch):
                if told.phase is Phase.OVER:
                    # A Job may have had two pods, and be finished with one that still ends.
                    await self._pods_now(seen.namespace, seen.name)
                    told = self._seen.told(seen)
                return told if not held else _held(told)
            if told.phase is Phase.LIVE:
                return told
            held = held or told.held
        if runner in self._refused:
            text = self._refused[runner]
            return Sighting(
                runner.attempt, runner.launch, Phase.REFUSED, Reason.INVALID_JOB, text, held=held
            )
        text = self._held_up.get(runner, "")
        if runner in self._starting:
            return Sighting(
                runner.attempt, runner.launch, Phase.LIVE, message=text, held=held, starting=True
            )
        now = asyncio.get_running_loop().time()
        if now > self._absent.get(runner, -math.inf) + ABSENT_FOR:
            if await self._is_there(run, runner):
                return Sighting(runner.attempt, runner.launch, Phase.LIVE)
            self._absent[runner] = now
        return Sighting(runner.attempt, runner.launch, Phase.ABSENT, message=text, held=held)

    async def _is_there(self, run: KnownRun, runner: RunnerKey) -> bool:
        """Whether a runner that isn't seen is there all the same: asked live. Raises Unavailable."""
        name = job_name(runner)
        try:
            with translated(f"Job {name!r}"):
                self._jobs.tell(await self._client.get(jobs(run.namespace, name)))
                return True
        except NotFound:
            pass
        # By the label, which one that was idle has, too: its Job is called otherwise.
        selector = {"labelSelector": f"{Label.RUNNER}={name}"}
        if self._pool is not None:
            with translated(f"Jobs of {name!r}"):
                found = await self._client.get(jobs(run.namespace), selector)
            for item in filter(is_ours, found["items"]):
                self._jobs.tell(item)
                return True
        with translated(f"pods of {name!r}"):
            found = await self._client.get(pods(run.namespace), selector)
        left = [each for each in found["items"] if not _is_over(each)]
        return bool(left)

    def _changed(self, run: str) -> None:
        if self._where(run) is None:
            return  # it was put aside, and what is left of its Jobs is nobody's business
        for changed in self._subscribers:
            changed(run)


def _held(told: Sighting) -> Sighting:
    return Sighting(
        told.attempt, told.launch, told.phase, told.reason, told.message, told.gone, held=True
    )


def _is_over(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
