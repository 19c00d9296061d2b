"""Jobs and pods of ours, as they were last seen: the memory of the launcher."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from xaas_core.engine.facts import Key
from xaas_kube.client import Json
from xaas_kube.sightings import SeenJob, SeenPod, is_ours, read_job, read_pod


class SeenRunners:
    """What the informers of Jobs and pods have told. `changed(run)` is called when it matters."""

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._jobs: dict[str, SeenJob] = {}
        self._pods: dict[str, SeenPod] = {}
        self._by_run: defaultdict[str, defaultdict[Key, dict[str, SeenJob]]] = defaultdict(
            lambda: defaultdict(dict)
        )
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
        keys = self._by_run.get(run)
        found = keys[key].values() if keys is not None and key in keys else ()
        # What somebody makes in another one is no runner of this run, whatever it says of itself.
        here = [job for job in found if job.namespace == namespace]
        return sorted(here, key=lambda job: (job.attempt, job.launch))

    def task_runs(self, run: str) -> list[Key]:
        """The task runs of a run of which there are Jobs."""
        return list(self._by_run.get(run, ()))

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
        before = self._jobs.get(job.uid)
        self._jobs[job.uid] = job
        self._by_run[job.run][job.key][job.uid] = job
        self._by_name[job.namespace, job.name] = job
        if job != before:
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
        keys = self._by_run[job.run]
        keys[job.key].pop(uid, None)
        if not keys[job.key]:
            del keys[job.key]
        if not keys:
            del self._by_run[job.run]
        self._changed(job.run)

    def _pod_seen(self, item: Json) -> None:
        self._keep_pod(read_pod(item, self._pods.get(item["metadata"]["uid"])))

    def _keep_pod(self, pod: SeenPod) -> None:
        before = self._pods.get(pod.uid)
        self._pods[pod.uid] = pod
        self._by_job[pod.namespace, pod.job][pod.uid] = pod
        # That it has started is no news: its runner will say so itself.
        if before is None or replace(pod, started=before.started) != before:
            self._changed(self._run_of(pod))
        if pod.over:
            self._after(pod)

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
        self._changed(self._run_of(pod))
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
