"""Scheduler and kubelet: from a pod's object to its containers, and back to its status.

Containers start some time after the pod was bound; what becomes of them is told some time after it
happened. A pod ends by its containers, by its deadline, by its deletion, or by what befalls its node;
its phase is told to be terminal only when no container of it runs any more.
"""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.simulation.kubernetes.api_server import ApiServer, Event
from tests.simulation.kubernetes.containers import Container, ContainerRun, KubeJob, Surroundings
from tests.simulation.kubernetes.kube_weather import KubeWeather
from tests.simulation.kubernetes.virtual_loop import later

from xaas_kube.client import ApiError, Json
from xaas_kube.words import jobs, pods

ENDED = ("Succeeded", "Failed")


@dataclass(eq=False)
class Pod:
    """A pod on its node. `why`: reason and message of a status that says why it was ended."""

    item: Json
    job: KubeJob
    runs: list[ContainerRun] = field(default_factory=list)
    bound_at: float | None = None
    ending: bool = False
    why: Json = field(default_factory=dict)
    dead: bool = False  # its node is: nobody tells anything of it
    slow: float = 0.0  # seconds until its end is told
    stuck: bool = False

    @property
    def name(self) -> str:
        """The pod's name, a word for chance."""
        return str(self.item["metadata"]["name"])

    @property
    def over(self) -> bool:
        """Whether nothing of it runs, nor ever will."""
        return self.ending and all(run.container.ended for run in self.runs)


class Kubelet:
    """All nodes. `jobs` are by uid of the Job's object."""

    def __init__(self, server: ApiServer, weather: KubeWeather, around: Surroundings) -> None:
        self._server = server
        self._weather = weather
        self._around = around
        self._count = 0
        self.pods: dict[str, Pod] = {}
        self.jobs: dict[str, KubeJob] = {}
        server.listeners.append(self._seen)

    # --- what the API server tells ---

    def _seen(self, event: Event) -> None:
        if event.place.resource != "pods":
            return
        meta = event.item["metadata"]
        pod = self.pods.get(meta["uid"])
        if event.kind == "ADDED":
            job = self.jobs[meta["ownerReferences"][0]["uid"]]
            self.pods[meta["uid"]] = Pod(event.item, job)
            job.waiting.add(meta["uid"])
            self._after(0.005, 0.05, meta["name"], "bind", partial(self._bind, meta["uid"]))
        elif pod is None:
            return
        elif event.kind == "DELETED":
            pod.item = event.item
            self._vanish(pod)
        else:
            pod.item = event.item
            self._react(pod)

    def _react(self, pod: Pod) -> None:
        meta, spec = pod.item["metadata"], pod.item["spec"]
        if "deletionTimestamp" in meta:
            self._after(0.0, 0.1, pod.name, "stop", partial(self._stop, pod, {}))
        elif spec.get("activeDeadlineSeconds") is not None and not pod.ending:
            began = pod.bound_at  # also of one whose image isn't there
            if began is not None:
                now = asyncio.get_running_loop().time()
                left = max(began + spec["activeDeadlineSeconds"] - now, 0.0)
                why = {"reason": "DeadlineExceeded", "message": "Pod was active too long"}
                later(left + 0.01, partial(self._stop, pod, why))

    # --- starting ---

    def _bind(self, uid: str) -> None:
        pod = self.pods.get(uid)
        if pod is None or pod.ending:
            return
        weather, faults = self._weather, self._weather.faults
        pod.stuck = weather.may(faults.stuck, pod.name, "stuck")
        if pod.stuck and weather.chance.may(0.5, pod.name, "unschedulable"):
            text = "0/1 nodes are available: 1 Insufficient memory."
            self._status(pod, {"conditions": [_scheduled("False", "Unschedulable", text)]})
            return

        def bound(item: Json) -> None:
            item["spec"]["nodeName"] = "node-1"
            item["status"] = {**(item.get("status") or {}), "phase": "Pending"}
            item["status"]["conditions"] = [_scheduled("True", "", "")]

        pod.bound_at = asyncio.get_running_loop().time()
        self._server.change(pod.item, bound)
        if pod.stuck:
            self._after(0.3, 1.0, pod.name, "pull", partial(self._back_off, pod, "ErrImagePull"))
            self._after(5.0, 9.0, pod.name, "off", partial(self._back_off, pod, "ImagePullBackOff"))
        else:
            self._after(0.1, 0.9, pod.name, "start", partial(self._start, pod))
        self._befall(pod)

    def _back_off(self, pod: Pod, reason: str) -> None:
        if not pod.ending:
            waiting = {"waiting": {"reason": reason, "message": "no such image"}}
            names = [each["name"] for each in pod.item["spec"]["containers"]]
            self._status(pod, {"containerStatuses": [{"name": n, "state": waiting} for n in names]})

    def _start(self, pod: Pod) -> None:
        if pod.ending:
            return
        pod.job.waiting.discard(pod.item["metadata"]["uid"])
        for each in pod.item["spec"]["containers"]:
            self._count += 1
            step = int(each["name"].removeprefix("step-"))
            container = Container(pod.job, f"p{self._count}", (step,), self._count)
            pod.job.processes.append(container)
            run = ContainerRun(self._around, container, partial(self._container_over, pod))
            pod.runs.append(run)
        self._after(0.0, 0.3, pod.name, "tell", partial(self._tell, pod))
        if pod.item["spec"].get("activeDeadlineSeconds") is not None:
            self._react(pod)

    # --- ending ---

    def _container_over(self, pod: Pod, container: Container) -> None:
        if all(run.container.ended for run in pod.runs) and len(pod.runs) == len(
            pod.item["spec"]["containers"]
        ):
            pod.ending = True
        if not pod.dead:
            self._after(
                0.02, 0.8, pod.name, f"{container.nonce} over", partial(self._tell, pod), pod.slow
            )

    def _stop(self, pod: Pod, why: Json, grace: float | None = None) -> None:
        """End a pod as the kubelet does: SIGTERM, grace, SIGKILL."""
        if pod.ending or pod.dead:
            if pod.over and not pod.dead:
                self._tell(pod)
            return
        pod.ending, pod.why = True, why
        pod.job.waiting.discard(pod.item["metadata"]["uid"])
        own = pod.item["metadata"].get(
            "deletionGracePeriodSeconds", pod.item["spec"].get("terminationGracePeriodSeconds", 30)
        )
        for run in pod.runs:
            run.terminate()
        later(float(own if grace is None else grace), partial(self._kill, pod))
        if pod.over:
            self._after(0.02, 0.5, pod.name, "over", partial(self._tell, pod))

    def _kill(self, pod: Pod) -> None:
        for run in pod.runs:
            run.kill()
        if pod.over and not pod.dead:
            self._tell(pod)

    def _vanish(self, pod: Pod) -> None:
        """Its object is gone, be it by force: nothing of it may go on."""
        meta = pod.item["metadata"]
        self.pods.pop(meta["uid"], None)
        pod.ending = True
        pod.job.waiting.discard(meta["uid"])
        for run in pod.runs:
            run.kill()

    def _tell(self, pod: Pod) -> None:
        """Write the pod's status; and let its object go, if it is deleted and nothing runs."""
        if pod.dead or pod.item["metadata"]["uid"] not in self.pods:
            return
        statuses = [_container_status(run.container) for run in pod.runs]
        status: Json = {
            "containerStatuses": statuses,
            "phase": "Running" if statuses else "Pending",
        }
        if pod.over:
            good = statuses and all(run.container.exit_code == 0 for run in pod.runs)
            status["phase"] = "Succeeded" if good and not pod.why else "Failed"
            status |= pod.why
        self._status(pod, status)
        if pod.over and "deletionTimestamp" in pod.item["metadata"]:
            self._server.change(pod.item, _no_grace)

    def _status(self, pod: Pod, new: Json) -> None:
        def edit(item: Json) -> None:
            if (item.get("status") or {}).get("phase") not in ENDED:
                item["status"] = {**(item.get("status") or {}), **new}

        self._server.change(pod.item, edit)

    # --- what befalls pods ---

    def _befall(self, pod: Pod) -> None:
        weather, faults, name = self._weather, self._weather.faults, pod.name
        if weather.may(faults.unseen, name, "unseen"):
            pod.slow = weather.chance.between(0.0, 5.0, name, "unseen for")
        when = partial(self._after, 0.0, 12.0, name)
        if weather.may(faults.dies, name, "dies"):
            when("dies at", partial(self._kill_one, pod, ""))
        if weather.may(faults.out_of_memory, name, "oom"):
            when("oom at", partial(self._kill_one, pod, "OOMKilled"))
        if weather.may(faults.evicted, name, "evicted"):
            why = {"reason": "Evicted", "message": "The node was low on resource: memory."}
            when("evicted at", partial(self._stop, pod, why, 0.5))
        if weather.may(faults.gone, name, "gone"):
            when("gone at", partial(self.node_gone, pod))
        if weather.may(faults.erased, name, "erased"):
            when("erased at", partial(self.erase, pod))
        if weather.may(faults.erased, name, "pod deleted"):
            when("pod deleted at", partial(self.delete_pod, pod))

    def _kill_one(self, pod: Pod, reason: str) -> None:
        alive = [run for run in pod.runs if not run.container.ended]
        if alive:
            alive[0].kill(reason=reason or "Error")

    def node_gone(self, pod: Pod) -> None:
        """The node's machine is off. After a while its pods are deleted, and then it itself."""
        if pod.ending:
            return
        self._weather.note("the node of %s is gone", pod.name)
        pod.dead = pod.ending = True
        pod.job.waiting.discard(pod.item["metadata"]["uid"])
        for run in pod.runs:
            run.kill()
        later(300.0, partial(self.delete_pod, pod))

        def collect() -> None:
            lost = {"phase": "Failed", "reason": "NodeLost", "message": "the node is gone"}
            self._status(pod, lost)
            self._server.change(pod.item, _no_grace)

        later(420.0, collect)

    def delete_pod(self, pod: Pod) -> None:
        """By hand, or by a drain."""
        meta = pod.item["metadata"]
        if meta["uid"] in self.pods:
            self._weather.note("pod %s is deleted by hand", pod.name)
            self._server.delete(pods(meta["namespace"], meta["name"]))

    def erase(self, pod: Pod) -> None:
        """Its Job is deleted by hand."""
        owner, meta = pod.item["metadata"]["ownerReferences"][0], pod.item["metadata"]
        held = self._server.find("jobs", meta["namespace"], owner["name"])
        if held is not None and held["metadata"]["uid"] == owner["uid"]:
            self._weather.note("job %s is deleted by hand", owner["name"])
            options = {"propagationPolicy": "Background"}
            self._around.watcher.erased(pod.job)  # type: ignore[attr-defined]
            self._server.delete(jobs(meta["namespace"], owner["name"]), options)

    def oldest(self) -> Pod | None:
        """The oldest pod that isn't over."""
        return next((pod for pod in self.pods.values() if not pod.ending), None)

    def _after(
        self, low: float, high: float, name: str, word: str, action: Any, more: float = 0.0
    ) -> None:
        def act() -> None:
            try:
                action()
            except ApiError as error:
                self._weather.note("%s: %s", name, error)

        later(more + self._weather.chance.between(low, high, name, word), act)


def _scheduled(status: str, reason: str, message: str) -> Json:
    return {"type": "PodScheduled", "status": status, "reason": reason, "message": message}


def _container_status(container: Container) -> Json:
    name = f"step-{container.steps[0]}"
    if not container.ended:
        return {"name": name, "state": {"running": {}}}
    how = {"exitCode": container.exit_code, "reason": container.reason}
    return {"name": name, "state": {"terminated": how}}


def _no_grace(item: Json) -> None:
    item["metadata"]["deletionGracePeriodSeconds"] = 0
