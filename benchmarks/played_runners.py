"""Runners that are played: what the product does for a task run, without what a pod costs a node.

The operator is told to want a node that is played, too (`played_node.py`). So it makes Jobs, Kubernetes'
own Job controller makes their pods, and its scheduler finds them a place, as ever; but no kubelet starts
any. For each pod one played runner calls
the gateway in its stead, with the pod's own token, over a connection of its own: `begin` (or `wait`),
then `finish`. Then it says of the pod what the kubelet would say at its end, so that its Job ends, too.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from xaas_kube.client import JSON, METADATA, METADATA_LIST, ApiError, KubeClient, Unreachable
from xaas_kube.words import Label, pods
from xaas_runner import contract
from xaas_runner.contract import Environment

Json = dict[str, Any]

ONLY_STEPS = f"{Label.COMPONENT}=step"
QUIET = 100.0
"""Seconds without even a bookmark (one comes each minute) after which a watch is dead."""
PATIENCE_MS = 20_000
PAUSE = 0.2
"""Seconds until a call is sent again that the gateway didn't answer."""


class PlayedRunners:
    """Plays all runners of a namespace. `run` it as a task.

    `ends` False: their steps begin, and go on for ever.
    """

    def __init__(self, client: KubeClient, namespace: str, *, ends: bool = True) -> None:
        self._client = client
        self._namespace = namespace
        self._ends = ends
        self._playing: dict[str, asyncio.Task[None]] = {}
        self._known: set[str] = set()
        self._ending: set[str] = set()
        self._moved = asyncio.Event()
        self.begun = 0
        """Steps that the gateway has let begin so far."""
        self.ended = 0
        """Task runs of which it has recorded the end so far."""

    async def run(self) -> None:
        """Play until cancelled."""
        async with asyncio.TaskGroup() as group:
            async for kind, pod in events(self._client, pods(self._namespace), ONLY_STEPS):
                uid = pod["metadata"]["uid"]
                if kind == "DELETED":
                    if uid in self._playing:
                        self._playing[uid].cancel()
                elif _is_to_end(pod):
                    if uid not in self._ending:
                        self._ending.add(uid)
                        group.create_task(self._end(pod))
                elif uid not in self._known:
                    self._known.add(uid)
                    self._playing[uid] = group.create_task(self._play(pod))

    async def until_begun(self, count: int) -> None:
        """Wait until so many steps have begun."""
        while self.begun < count:
            self._moved.clear()
            await self._moved.wait()

    async def _end(self, pod: Json) -> None:
        """What a kubelet does with a pod that is to end: nothing of it runs, it says so, and one that
        is deleted goes."""
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            await say(self._client, pod, "Failed", {"terminated": {"exitCode": 143}})
        if "deletionTimestamp" in pod["metadata"]:
            await let_go(self._client, pod)

    async def _play(self, pod: Json) -> None:
        try:
            await self._speak(pod)
        finally:
            self._playing.pop(pod["metadata"]["uid"], None)

    async def _speak(self, pod: Json) -> None:
        meta = pod["metadata"]
        given = {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"]}
        call = {
            "step": int(given[Environment.STEP]),
            "nonce": meta["uid"],
            "runner": meta["name"],
        }
        async with line(given[Environment.GATEWAY], given[Environment.TOKEN]) as gateway:
            if await self._begin(gateway, call, pod):
                self.begun += 1
                self._moved.set()
                if not self._ends:
                    await say(self._client, pod, "Running", {"running": {}})
                    return
                end = {"outcome": "succeeded", "elapsed_ms": 0, "delta": [], "error": None}
                finish = {**call, **end, "terminated": False}
                answer = await gateway.call(contract.FINISH_PATH, finish)
                self.ended += answer["answer"] == "recorded"
        await say(self._client, pod, "Succeeded", {"terminated": {"exitCode": 0}})

    async def _begin(self, gateway: "Line", call: Json, pod: Json) -> bool:
        """Begin when it is time to. False if it never will be."""
        answer = (await gateway.call(contract.BEGIN_PATH, call))["answer"]
        if answer == "wait":
            # Whoever waits does so in a pod that runs: of one that doesn't, the operator asks why.
            await say(self._client, pod, "Running", {"running": {}})
        turn = {"step": call["step"], "patience_ms": PATIENCE_MS}
        while answer == "wait":
            answer = (await gateway.call(contract.WAIT_PATH, turn))["answer"]
            if answer == "go":
                answer = (await gateway.call(contract.BEGIN_PATH, call))["answer"]
        return bool(answer == "go")


async def say(client: KubeClient, pod: Json, phase: str, state: Json) -> None:
    """Say of a pod what its kubelet would."""
    meta, container = pod["metadata"], pod["spec"]["containers"][0]
    shown = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": phase == "Running",
        "started": phase == "Running",
        "restartCount": 0,
        "state": state,
    }
    status = {"phase": phase, "containerStatuses": [shown]}
    try:
        await client.patch(pods(meta["namespace"], meta["name"], "status"), {"status": status})
    except ApiError as error:
        if error.code not in (404, 409):  # it is gone; or it was written at the same moment
            raise


async def let_go(client: KubeClient, pod: Json) -> None:
    """Let a pod that is deleted go, as its kubelet does when nothing of it runs any more."""
    meta = pod["metadata"]
    with suppress(ApiError):  # it is gone already
        await client.delete(pods(meta["namespace"], meta["name"]), {"gracePeriodSeconds": 0})


def _is_to_end(pod: Json) -> bool:
    """Whether a pod is deleted, or has the deadline by which the operator stops its runners."""
    return "deletionTimestamp" in pod["metadata"] or "activeDeadlineSeconds" in pod["spec"]


class Line:
    """One runner's connection to the gateway. Every call is repeated until it is answered."""

    def __init__(self, address: str, token: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname, parts.port
        self._head = (
            f"HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            f"X-Xaas-Protocol: {contract.PROTOCOL}\r\nContent-Type: application/json\r\n"
        )
        self._writer: asyncio.StreamWriter | None = None

    async def call(self, path: str, message: Json) -> Json:
        """The gateway's answer. RuntimeError if it refuses."""
        body = json.dumps(message, separators=(",", ":"))
        request = f"POST {path} {self._head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
        while True:
            try:
                status, content = await self._exchange(request)
            except (OSError, asyncio.IncompleteReadError):  # an operator that has just ended
                self.close()
                status = 503
            if status == 200:
                answer: Json = json.loads(content)
                return answer
            if status < 500:
                raise RuntimeError(f"the gateway refuses {path}: {status} {content!r}")
            await asyncio.sleep(PAUSE)

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].split("\r\n", 1)[0])
        return int(head.split(" ", 2)[1]), await self._reader.readexactly(length)

    def close(self) -> None:
        """Let go of the connection; the next call makes another one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


@asynccontextmanager
async def line(address: str, token: str) -> AsyncIterator[Line]:
    """A connection for as long as it is used."""
    opened = Line(address, token)
    try:
        yield opened
    finally:
        opened.close()


async def events(
    client: KubeClient, path: str, selector: str, *, metadata_only: bool = False
) -> AsyncIterator[tuple[str, Json]]:
    """What there is, and then what happens to it, for ever: `ADDED`, `MODIFIED`, `DELETED`."""
    lists, watches = (METADATA_LIST, METADATA) if metadata_only else (JSON, JSON)
    params: dict[str, Any] = {"labelSelector": selector}
    listed = await client.get(path, params, lists)
    for item in listed["items"] or ():
        yield "ADDED", item
    params |= {"resourceVersion": listed["metadata"]["resourceVersion"]}
    params |= {"allowWatchBookmarks": True}
    while True:
        try:
            async for event in client.watch(path, params, QUIET, watches):
                if event["type"] == "ERROR":
                    raise RuntimeError(f"the watch of {path} is lost: {event['object']}")
                params["resourceVersion"] = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]
        except Unreachable:
            continue  # it was too quiet, or has ended; it goes on from where it was


@asynccontextmanager
async def meanwhile(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Works that go on as long as what is done here; an error of theirs ends it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        yield
        for task in tasks:
            task.cancel()
