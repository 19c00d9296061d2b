"""Starting runners on a real API server: at once, once, and not again and again in vain."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from xaas_core.engine.facts import Phase, Sighting
from xaas_core.engine.states import Side
from xaas_core.ports import LaunchOrder
from xaas_core.testing.builders import task_plan
from xaas_kube import launcher as launching
from xaas_kube.client import KubeClient
from xaas_kube.jobs import OUTAGE, JobSettings, runner_of
from xaas_kube.launcher import JobLauncher
from xaas_kube.run_index import KnownRun, known_run
from xaas_kube.words import Label, jobs, pods

pytestmark = [pytest.mark.anyio, pytest.mark.cluster]

UID = "8b0f0e9e-0000-4000-8000-000000000001"
PLACE = "launcher"
ORDER = LaunchOrder(UID, PLACE, "a", Side.DO, 1, 1, (0,), task_plan("a"), "token")
KEY = ("a", Side.DO)
BARE = {
    "suspend": True,
    "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}},
}


def known(uid: str, namespace: str) -> KnownRun:
    meta = {"uid": uid, "namespace": namespace, "name": "r", "resourceVersion": "1"}
    meta |= {"creationTimestamp": "2026-01-01T00:00:00Z"}
    return known_run({"metadata": meta, "spec": {"name": "p"}})


class Launching:
    """A launcher, and what it has told and sent."""

    def __init__(
        self,
        client: KubeClient,
        namespace: str = PLACE,
        lookahead: int = 0,
        keep_finished: int = OUTAGE,
    ) -> None:
        self.client = client
        where = partial(known, namespace=namespace)
        settings = JobSettings(image="runner", lookahead=lookahead, keep_finished=keep_finished)
        self.launcher = JobLauncher(client, where, settings, "http://10.0.0.1:8082")
        self.changed: list[str] = []
        self.launcher.subscribe(self.changed.append)

    @property
    def tries(self) -> int:
        return self.client.sent["create", "jobs"]

    async def sight(self) -> Sighting:
        return (await self.launcher.sight(UID, [runner_of(ORDER)]))[KEY]

    async def settle(self) -> None:
        """Wait until it is known what has become of what is being started."""
        await self.launcher._until_started([runner_of(ORDER)])
        await asyncio.sleep(0)


async def test_what_is_being_started_is_sighted_and_made_once(client: KubeClient) -> None:
    made = Launching(client)
    await made.launcher.start(ORDER)
    assert (await made.sight()).phase is Phase.LIVE, "nobody waits for it"
    await made.launcher.start(ORDER, ORDER)
    await made.settle()
    assert made.tries == 1
    assert (await made.sight()).phase is Phase.LIVE
    assert made.changed == [], "it is as it was said to be"
    await made.launcher.start(ORDER)
    await made.settle()
    assert made.tries == 1
    await made.launcher.start(replace(ORDER, launch=2))
    await made.launcher.end(runner_of(replace(ORDER, launch=2)), 0)
    left = (await client.get(jobs(PLACE)))["items"]
    alive = [each for each in left if "deletionTimestamp" not in each["metadata"]]
    assert len(alive) == 1, "what was being started is ended, too"


async def test_what_has_begun_keeps_its_log_though_it_isnt_seen_to_run(
    client: KubeClient,
) -> None:
    made = Launching(client)
    await made.launcher.start(ORDER)
    await made.settle()
    (job,) = (await client.get(jobs(PLACE)))["items"]
    labels = {**job["spec"]["template"]["metadata"]["labels"], Label.JOB: job["metadata"]["name"]}
    body = {"metadata": {"name": "p", "labels": labels}, "spec": job["spec"]["template"]["spec"]}
    await client.create(pods(PLACE), body)  # no watch has told of it
    for _ in range(2):
        await made.launcher.end(runner_of(ORDER), 0, begun=True)
    pod = await client.get(pods(PLACE, "p"))
    assert pod["spec"]["activeDeadlineSeconds"] == 1
    assert client.sent["patch", "pods"] == 1, "once told is enough"
    (job,) = (await client.get(jobs(PLACE)))["items"]
    assert "deletionTimestamp" not in job["metadata"]
    await client.delete(pods(PLACE, "p"), {"gracePeriodSeconds": 0})


async def test_a_runner_is_over_only_if_none_of_its_pods_lives(client: KubeClient) -> None:
    made = Launching(client)
    await made.launcher.start(ORDER)
    await made.settle()
    (job,) = (await client.get(jobs(PLACE)))["items"]
    labels = {**job["spec"]["template"]["metadata"]["labels"], Label.JOB: job["metadata"]["name"]}
    spec = job["spec"]["template"]["spec"] | {"nodeSelector": {"no": "node"}}
    for name in ("first", "second"):
        await client.create(
            pods(PLACE), {"metadata": {"name": name, "labels": labels}, "spec": spec}
        )
    over = await client.patch(pods(PLACE, "first", "status"), {"status": {"phase": "Succeeded"}})
    made.launcher._pods.tell(over)  # the watch has told of one of them
    assert (await made.sight()).phase is Phase.LIVE
    await client.patch(pods(PLACE, "second", "status"), {"status": {"phase": "Failed"}})
    made.launcher._pods.tell(await client.get(pods(PLACE, "second")))
    assert (await made.sight()).phase is Phase.OVER


@pytest.mark.parametrize(("kept", "from_the_start"), [(OUTAGE, True), (OUTAGE - 1, False)])
async def test_how_long_a_job_is_kept_is_told_once(
    client: KubeClient, kept: int, from_the_start: bool
) -> None:
    made = Launching(client, keep_finished=kept)

    async def told() -> int:
        (job,) = (await client.get(jobs(PLACE)))["items"]
        ttl: int = job["spec"]["ttlSecondsAfterFinished"]
        return ttl

    await made.launcher.start(ORDER)
    await made.settle()
    assert await told() == OUTAGE
    for _ in range(2):
        await made.launcher.release(runner_of(ORDER))
    assert await told() == kept
    assert client.sent["patch", "jobs"] == (0 if from_the_start else 1)


async def test_another_job_of_the_name_is_left_alone(client: KubeClient) -> None:
    made = Launching(client, keep_finished=OUTAGE - 1)
    await made.launcher.start(ORDER)
    await made.settle()
    (job,) = (await client.get(jobs(PLACE)))["items"]
    where = jobs(PLACE, job["metadata"]["name"])
    await client.delete(where, {"propagationPolicy": "Background"})
    await client.create(jobs(PLACE), {"metadata": {"name": job["metadata"]["name"]}, "spec": BARE})
    await made.launcher.release(runner_of(ORDER))  # by what was seen, it is the one before
    assert "ttlSecondsAfterFinished" not in (await client.get(where))["spec"]


async def test_what_there_is_no_room_for_is_tried_after_a_while(
    client: KubeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "AGAIN", 0.3)
    made = Launching(client, "nowhere")
    await made.launcher.start(ORDER)
    await made.settle()
    told = await made.sight()
    assert told.phase is Phase.ABSENT
    assert told.message == 'namespaces "nowhere" not found'
    for _ in range(5):
        await made.launcher.start(ORDER)
        await made.settle()
    assert made.tries == 1
    assert made.changed == []
    await asyncio.sleep(0.5)
    assert made.changed == [UID]
    await made.launcher.start(ORDER)
    again = await made.sight()
    assert again == replace(told, phase=Phase.LIVE, starting=True), "why it waits is still so"
    await made.settle()
    assert made.tries == 2


async def test_that_there_is_room_now_is_told(client: KubeClient) -> None:
    made = Launching(client)
    made.launcher._held_up[runner_of(ORDER)] = "there was no room"
    await made.launcher.start(ORDER)
    assert (await made.sight()).message == "there was no room"
    await made.settle()
    assert (await made.sight()).message == ""
    assert made.changed == [UID], "a run doesn't say for ever what it waited for"


async def test_no_more_wait_for_their_turn_than_the_settings_allow(client: KubeClient) -> None:
    """However many ask at a time, again and again, and whoever led before."""
    orders = [replace(ORDER, ref=f"t{number}") for number in range(6)]
    made = Launching(client, lookahead=2)
    for _ in range(2):
        await asyncio.gather(*(made.launcher.prepare(order) for order in orders))
        assert (made.tries, made.launcher.ahead) == (2, 2)
    next_leader = Launching(client, lookahead=2)
    for item in (await client.get(jobs(PLACE)))["items"]:
        next_leader.launcher._jobs.tell(item)
    await next_leader.launcher.prepare(*orders)
    assert next_leader.launcher.ahead == 2
    assert made.tries == 2, "no other is started beside them"
