"""Kubernetes' own controllers: of Jobs, of what is finished for long, and the collector of garbage.

A Job gets one pod (`backoffLimit: 0`), and its last condition some time after the pod has ended; if it got
a second one, that goes then. Its pods carry a finalizer until they are counted. Jobs that finished go after their TTL. What a deleted
object owned goes after it, or, in the foreground, before it.
"""

from collections.abc import Callable
from functools import partial

from tests.simulation.kubernetes.api_server import FOREGROUND, ApiServer, Event
from tests.simulation.kubernetes.kube_weather import KubeWeather
from tests.simulation.kubernetes.virtual_loop import later

from xaas_kube.client import ApiError, Json
from xaas_kube.words import API_VERSION, pods

TRACKED = "batch.kubernetes.io/job-tracking"
ENDED = ("Succeeded", "Failed")


class Controllers:
    """Act on what they see, some time later. `pod_due(uid)` tells that a Job's pod won't come."""

    def __init__(
        self, server: ApiServer, weather: KubeWeather, no_pod: Callable[[str], None]
    ) -> None:
        self._server = server
        self._weather = weather
        self._no_pod = no_pod
        self._expiring: dict[str, int] = {}
        server.listeners.append(self._seen)

    def _seen(self, event: Event) -> None:
        meta = event.item["metadata"]
        if event.place.resource == "jobs":
            self._job_seen(event)
        elif event.place.resource == "pods" and event.kind == "MODIFIED":
            if event.item["status"].get("phase") in ENDED and TRACKED in meta.get("finalizers", ()):
                self._after(0.2, 3.0, meta["name"], "counted", partial(self._count, event.item))
        elif event.place.resource == "pods" and event.kind == "DELETED":
            self._after(0.2, 3.0, meta["name"], "missed", partial(self._count, event.item))
        if event.kind == "DELETED":
            self._after(0.1, 2.0, meta["name"], "collected", partial(self._collect, meta["uid"]))
        elif FOREGROUND in meta.get("finalizers", ()) and FOREGROUND not in _finalizers(
            event.before
        ):
            self._after(0.05, 0.5, meta["name"], "emptied", partial(self._empty, meta["uid"]))
        elif event.kind == "ADDED" and meta.get("ownerReferences"):
            owner = meta["ownerReferences"][0]["uid"]
            self._after(1.0, 5.0, meta["name"], "owned", partial(self._collect_if_gone, owner))

    def _after(
        self, low: float, high: float, name: str, word: str, action: Callable[[], None]
    ) -> None:
        def act() -> None:
            try:
                action()
            except ApiError as error:
                self._weather.note("%s: %s", name, error)

        later(self._weather.chance.between(low, high, name, word), act)

    # --- Jobs ---

    def _job_seen(self, event: Event) -> None:
        item, meta = event.item, event.item["metadata"]
        if event.kind == "ADDED":
            self._after(0.01, 0.1, meta["name"], "pod", partial(self._make_pod, meta["uid"], 1))
            faults = self._weather.faults
            if self._weather.may(faults.again, meta["name"], "again"):
                again = partial(self._make_pod, meta["uid"], 2)
                self._after(0.1, 3.0, meta["name"], "again after", again)
            return
        ttl = item["spec"].get("ttlSecondsAfterFinished")
        if ttl is not None and _finished(item) and self._expiring.get(meta["uid"]) != ttl:
            self._expiring[meta["uid"]] = ttl
            expire = partial(self._expire, meta["uid"], ttl)
            self._after(ttl, ttl + 1.0, meta["name"], "ttl", expire)

    def _make_pod(self, uid: str, number: int) -> None:
        job = self._server.by_uid(uid)
        if job is None or "deletionTimestamp" in job["metadata"] or _finished(job):
            if number == 1:
                self._no_pod(uid)
            return
        template, meta = job["spec"]["template"], job["metadata"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": uid}
        owner |= {"controller": True, "blockOwnerDeletion": True}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{meta['name']}-{uid[-5:]}{number}",
                "labels": {
                    **template["metadata"]["labels"],
                    "batch.kubernetes.io/job-name": meta["name"],
                    "batch.kubernetes.io/controller-uid": uid,
                },
                "annotations": dict(template["metadata"]["annotations"]),
                "ownerReferences": [owner],
                "finalizers": [TRACKED],
            },
            "spec": dict(template["spec"]),
        }
        self._server.create(pods(meta["namespace"]), body)
        self._server.change(job, lambda item: item.update(status={"active": 1}))
        if number == 1:
            self._no_pod(uid)

    def _count(self, pod: Json) -> None:
        """A pod has ended, or is gone: say so of its Job, and let the pod go."""
        self._server.change(pod, _untracked)
        job = self._server.by_uid(pod["metadata"]["ownerReferences"][0]["uid"])
        if job is None or _finished(job):
            return
        good = pod["status"].get("phase") == "Succeeded"
        text = "Job has reached the specified backoff limit"
        condition = {"type": "Complete" if good else "Failed", "status": "True"}
        condition |= {"reason": "" if good else "BackoffLimitExceeded"}
        condition |= {"message": "" if good else text}

        def finish() -> None:
            for other in self._owned(job["metadata"]["uid"]):
                if (
                    other["status"].get("phase") not in ENDED
                    and "deletionTimestamp" not in other["metadata"]
                ):
                    self._delete(other, "Background")
            self._server.change(job, lambda item: item.update(status={"conditions": [condition]}))

        self._after(0.1, 2.0, pod["metadata"]["name"], "condition", finish)

    def _expire(self, uid: str, ttl: int) -> None:
        job = self._server.by_uid(uid)
        if job is not None and self._expiring[uid] == ttl:
            self._delete(job, "Foreground")

    # --- garbage ---

    def _collect_if_gone(self, owner: str) -> None:
        if self._server.by_uid(owner) is None:
            self._collect(owner)

    def _collect(self, owner: str) -> None:
        """The owner is gone: so goes what it owned."""
        for item in self._owned(owner):
            if TRACKED in item["metadata"].get("finalizers", ()):
                self._server.change(item, _untracked)
            if "deletionTimestamp" not in item["metadata"]:
                self._delete(item, "Background")

    def _empty(self, owner: str) -> None:
        """The owner goes when what it owned is gone."""
        owned = self._owned(owner)
        for item in owned:
            if "deletionTimestamp" not in item["metadata"]:
                self._delete(item, "Background")
        held = self._server.by_uid(owner)
        if held is None:
            return
        blocking = [
            item
            for item in self._owned(owner)
            if item["metadata"]["ownerReferences"][0].get("blockOwnerDeletion")
        ]
        if blocking:
            again = partial(self._empty, owner)
            self._after(0.1, 0.5, held["metadata"]["name"], "emptied again", again)
            return
        kept = [each for each in held["metadata"].get("finalizers", ()) if each != FOREGROUND]
        self._server.change(held, lambda item: item["metadata"].update(finalizers=kept))

    def _owned(self, owner: str) -> list[Json]:
        return [
            item
            for resource in ("pipelinetaskruns", "jobs", "pods", "controllerrevisions")
            for item in self._server.all(resource)
            if any(each["uid"] == owner for each in item["metadata"].get("ownerReferences") or ())
        ]

    def _delete(self, item: Json, policy: str) -> None:
        meta = item["metadata"]
        groups = {"pods": "/api/v1", "jobs": "/apis/batch/v1"}
        groups |= {"controllerrevisions": "/apis/apps/v1"}
        resource = self._server.resource_of(item)
        group = groups.get(resource, f"/apis/{API_VERSION}")
        path = f"{group}/namespaces/{meta['namespace']}/{resource}/{meta['name']}"
        self._server.delete(path, {"propagationPolicy": policy})


def _finalizers(item: Json | None) -> list[str]:
    return [] if item is None else list(item["metadata"].get("finalizers") or ())


def _finished(job: Json) -> bool:
    return bool((job.get("status") or {}).get("conditions"))


def _untracked(item: Json) -> None:
    finalizers = item["metadata"].get("finalizers") or ()
    item["metadata"]["finalizers"] = [each for each in finalizers if each != TRACKED]
