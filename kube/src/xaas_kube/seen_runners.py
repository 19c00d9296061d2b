"""Jobs and pods of ours, as they were last seen: the memory of the launcher.

What they say of runners is kept, too: a run is looked at far more often than something of it changes.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from xaas_core.engine.facts import Key, Phase, Sighting
from xaas_kube.client import Json
from xaas_kube.sightings import SeenJob, SeenPod, is_ours, read_job, read_pod, sight


class SeenRunners:
    """What the informers of Jobs and pods have told. `changed(run)` is called when it says something
    else of a runner."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._jobs: dict[str, SeenJob] = {}
        self._pods: dict[str, SeenPod] = {}
        # By run and its namespace: what somebody makes in another one is no runner of this run,
        # whatever it says of itself.
        self._by_task_run: defaultdict[tuple[str, str, Key], dict[str, SeenJob]] = defaultdict(dict)
        self._told: dict[tuple[str, str, Key], tuple[Sighting, ...]] = {}
        self._standing: defaultdict[tuple[str, str], dict[Key, Sighting]] = defaultdict(dict)
        self._by_name: dict[tuple[str, str], SeenJob] = {}
        self._outlived: set[str] = set()
        self._by_job: defaultdict[tuple[str, str], dict[str, SeenPod]] = defaultdict(dict)
        self.jobs = _Sink(self._job_seen, self._job_gone)
        self.pods = _Sink(self._pod_seen, self._pod_gone)

    @contextmanager
    def expected(self) -> Iterator[None]:
        """What is seen meanwhile is what was asked for, and no news."""
        changed, self._changed = self._changed, lambda run: None
        try:
            yield
        finally:
            self._changed = changed

    def of(self, run: str, key: Key, namespace: str) -> list[SeenJob]:
        """The Jobs of a task run in its namespace, the oldest launch first."""
        found = self._by_task_run.get((namespace, run, key), {})
        return sorted(found.values(), key=lambda job: (job.attempt, job.launch))

    def told(self, job: SeenJob) -> Sighting:
        """What a Job and its pods say of their runner."""
        return sight(job, self.pods_of(job.namespace, job.name))

    def standing(self, run: str, namespace: str) -> dict[Key, Sighting]:
        """What is said of the task runs of a run of which a runner lives (the oldest, then), or of
        which something is held."""
        return dict(self._standing.get((namespace, run), {}))

    def alive(self, run: str) -> list[SeenPod]:
        """The pods of a run that aren't over, be their Jobs there or not."""
        return [pod for pod in self._pods.values() if not pod.over and self._run_of(pod) == run]

    def unmarked(self) -> list[SeenJob]:
        """Jobs that were idle, and of which a pod doesn't say yet what it is for now."""
        silent = [pod for pod in self._pods.values() if not pod.run]
        found = (self._by_name.get((pod.namespace, pod.job)) for pod in silent)
        return [job for job in found if job is not None]

    def pods_of(self, namespace: str, job: str) -> list[SeenPod]:
        """The pods of a Job."""
        return list(self._by_job.get((namespace, job), {}).values())

    def waiting(self) -> Iterator[tuple[SeenJob, SeenPod | None]]:
        """Jobs whose pod hasn't started and doesn't say why; or that have no pod yet."""
        for job in self._jobs.values():
            if job.finished or job.deleting:
                continue
            pods = self.pods_of(job.namespace, job.name)
            if not pods:
                yield job, None
            for pod in pods:
                if not pod.started and not pod.over and not pod.trouble:
                    yield job, pod

    def explain(self, pod: SeenPod, why: str) -> None:
        """Note why a pod can't start, which its status doesn't say."""
        known = self._pods.get(pod.uid)
        if known is not None and not known.started and known.learnt != why:
            self._keep_pod(replace(known, learnt=why))

    def explain_job(self, job: SeenJob, trouble: str) -> None:
        """Note why a Job gets no pod."""
        known = self._jobs.get(job.uid)
        if known is not None and known.trouble != trouble:
            self._keep_job(replace(known, trouble=trouble))

    def _job_seen(self, item: Json) -> None:
        if not is_ours(item):
            return
        job = read_job(item)
        before = self._jobs.get(job.uid)
        self._keep_job(job if before is None else replace(job, trouble=before.trouble))

    def _keep_job(self, job: SeenJob) -> None:
        self._jobs[job.uid] = job
        self._by_task_run[job.namespace, job.run, job.key][job.uid] = job
        self._by_name[job.namespace, job.name] = job
        self._look(job)

    def _look(self, job: SeenJob) -> None:
        """Find out what is said of a Job's task run now, and tell if it is news."""
        place = (job.namespace, job.run, job.key)
        told = tuple(self.told(each) for each in self.of(job.run, job.key, job.namespace))
        if told == self._told.get(place, ()):
            return
        standing = self._standing[place[:2]]
        alive = [each for each in told if each.phase is Phase.LIVE]
        held = [each for each in told if each.held]
        if alive or held:
            standing[job.key] = alive[0] if alive else held[-1]
        else:
            standing.pop(job.key, None)
        if not standing:
            del self._standing[place[:2]]
        if told:
            self._told[place] = told
        else:
            del self._told[place]
        self._changed(job.run)

    def _job_gone(self, uid: str) -> None:
        job = self._jobs.get(uid)
        if job is None:
            return
        if any(not pod.over for pod in self.pods_of(job.namespace, job.name)):
            # Its pods outlive it for a while, and one of a pool may not say yet whose it is: as long as
            # it runs, it is this runner.
            self._outlived.add(uid)
            self._keep_job(replace(job, deleting=True))
        else:
            self._forget_job(job)

    def _forget_job(self, job: SeenJob) -> None:
        uid = job.uid
        self._outlived.discard(uid)
        del self._jobs[uid]
        if self._by_name.get((job.namespace, job.name), job).uid == uid:
            self._by_name.pop((job.namespace, job.name), None)
        place = (job.namespace, job.run, job.key)
        self._by_task_run[place].pop(uid, None)
        if not self._by_task_run[place]:
            del self._by_task_run[place]
        self._look(job)

    def _pod_seen(self, item: Json) -> None:
        self._keep_pod(read_pod(item, self._pods.get(item["metadata"]["uid"])))

    def _keep_pod(self, pod: SeenPod) -> None:
        self._pods[pod.uid] = pod
        self._by_job[pod.namespace, pod.job][pod.uid] = pod
        self._look_after(pod)
        if pod.over:
            self._after(pod)

    def _look_after(self, pod: SeenPod) -> None:
        """Something of a pod has changed: so may have what is said of its runner."""
        job = self._by_name.get((pod.namespace, pod.job))
        if job is not None:
            self._look(job)
        elif pod.run:
            self._changed(pod.run)  # its Job is gone already, or wasn't told of yet

    def _run_of(self, pod: SeenPod) -> str:
        """The run that a pod belongs to; empty for one that is idle."""
        if pod.run:
            return pod.run
        job = self._by_name.get((pod.namespace, pod.job))
        return "" if job is None else job.run

    def _pod_gone(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        if pod is None:
            return
        place = (pod.namespace, pod.job)
        self._by_job[place].pop(uid, None)
        if not self._by_job[place]:
            del self._by_job[place]
        self._look_after(pod)
        self._after(pod)

    def _after(self, pod: SeenPod) -> None:
        """A pod has ended: forget its Job if that is gone already, and nothing of it runs any more."""
        job = self._by_name.get((pod.namespace, pod.job))
        if job is not None and job.uid in self._outlived:
            self._job_gone(job.uid)


class _Sink:
    """See `informer.Sink`."""

    def __init__(self, seen: Callable[[Json], None], gone: Callable[[str], None]) -> None:
        self.seen = seen
        self.gone = gone
