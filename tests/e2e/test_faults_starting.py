"""Runners that can't start: no room, a Job that is none, no image, no node, no Secret.

The reason is told where one looks first, in the task run, by kubectl and by REST.
"""

import time
from contextlib import suppress

import pytest
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import Nodes, Step, multi, node
from tests.conformance.kit.rest import Rest
from tests.e2e.kit.space import Json, Space, until

TOLD_WITHIN = 10.0
"""Seconds until it is told why a runner doesn't start."""

AWHILE = 6.0
"""Seconds, longer than the runner may take to start: waiting for room doesn't count."""


def quota(**hard: str) -> Json:
    """A ResourceQuota; `__` in a name is `/`, `_` is `.`."""
    names = {key.replace("__", "/").replace("_", "."): held for key, held in hard.items()}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "little"},
        "spec": {"hard": names},
    }


def secret(name: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {"k": "the value"},
    }


def needs(name: str) -> list[Json]:
    """`secrets` of a task."""
    return [{"name": "s", "secret": name, "key": "k"}]


class Told:
    """A task run of run `r`, as kubectl and REST tell of it."""

    def __init__(self, space: Space, rest: Rest, ref: str = "a") -> None:
        self._space = space
        self._rest = rest
        self._ref = ref
        self._uid = space.get("plr/r")["metadata"]["uid"]

    def by_kubectl(self) -> tuple[str, str]:
        """State and message."""
        found = self._space.task_runs("r").get((self._ref, "do"), {}).get("status", {})
        return found.get("state", ""), found.get("message", "")

    def by_rest(self) -> tuple[str, str]:
        """Likewise."""
        found = self._rest.get("pipelineruns", self._uid, "tasks", self._ref, "do")
        newest = found["attempts"][-1] if found["attempts"] else found
        return found["status"], (found["error"] or newest["error"] or {}).get("message", "")

    def until(self, state: str, *words: str, within: float = TOLD_WITHIN) -> None:
        """Until both tell of this state, with one of these words in the message."""
        for tell in (self.by_kubectl, self.by_rest):

            def is_told() -> bool:
                found, message = tell()  # noqa: B023 (at once)
                return found == state and any(word in message for word in words)

            try:
                until(f"{state} is told, with {words}", is_told, within)
            except AssertionError as failure:
                raise AssertionError(f"{failure}: {tell()}\n{self._space.story('r')}") from None


def test_no_room_for_a_job(space: Space, rest: Rest, gate: Gate) -> None:
    """It waits, says for what, and goes on when there is room; what has room isn't held up."""
    space.apply(quota(count__jobs_batch="1"))
    until("the quota counts", lambda: space.get("quota/little").get("status", {}).get("hard"))
    space.start({"first": node(gate.hold("first"))}, "before")
    gate.wait("first")
    space.start({"a": node(gate.note("a"), startTimeout="5s")})
    Told(space, rest).until("pending", "exceeded quota")
    time.sleep(AWHILE)
    assert Told(space, rest).by_kubectl()[0] == "pending", "waiting for room isn't starting"
    assert gate.visits["a"] == 0
    assert space.status("r")["state"] == "processing"
    space.apply(quota(count__jobs_batch="5"))
    space.wait_state("r", "complete")
    gate.release("first")
    space.wait_state("before", "complete")
    (attempt,) = space.task_runs("r")["a", "do"]["status"]["attempts"]
    assert (attempt["number"], attempt.get("lost", 0)) == (1, 0)
    assert not attempt.get("trouble")


def test_no_room_for_a_pod(space: Space, rest: Rest, gate: Gate) -> None:
    """Then the Job is there and has no pod, which only its events explain."""
    space.apply(quota(pods="0"))
    until("the quota counts", lambda: space.get("quota/little").get("status", {}).get("hard"))
    space.start({"a": node(gate.note("a"))})
    Told(space, rest).until("pending", "exceeded quota")
    assert len(space.items("jobs")) == 1
    space.apply(quota(pods="5"))
    space.wait_state("r", "complete")
    assert gate.trace == ["a"]
    assert len(space.items("jobs")) == 1


INVALID: dict[str, tuple[Json, str]] = {
    "a request beyond its limit": (
        {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
        "must be less than or equal to cpu limit",
    ),
    "a resource that there can't be": (
        {"resources": {"limits": {"no name/foo": "1"}}},
        "no name/foo",
    ),
    "more steps than a Job has room for": ({"steps": 3000}, "is invalid"),
}


@pytest.mark.parametrize("flaw", INVALID)
def test_a_job_that_is_refused(space: Space, rest: Rest, gate: Gate, flaw: str) -> None:
    """Asking again wouldn't help: it has failed, retries or not, and what was done is undone."""
    further, word = INVALID[flaw]
    steps = [Step()] * further.get("steps", 1)
    more = {key: held for key, held in further.items() if key != "steps"}
    nodes: Nodes = {
        "before": node(undo=gate.note("undo")),
        "a": multi(*steps, after="before", retries={"limit": 3}, **more),
    }
    space.start(nodes)
    space.wait_state("r", "cancelled")
    Told(space, rest).until("failed", word)
    found = space.task_runs("r")["a", "do"]["status"]
    assert found["reason"] == "InvalidJob"
    assert len(found["attempts"]) == 1
    assert gate.trace == ["undo"]
    assert len(space.items("jobs")) == 2


HELD_UP: dict[str, tuple[Json, tuple[str, ...]]] = {
    "no image": ({"image": "localhost/nowhere:none"}, ("ErrImagePull", "ImagePullBackOff")),
    "no node": ({"resources": {"requests": {"cpu": "1000"}}}, ("Insufficient cpu",)),
    "no Secret": ({"secrets": needs("missing")}, ('secret "missing" not found',)),
    "no image's name": ({"image": "localhost/NOWHERE:none"}, ("InvalidImageName",)),
    "no name at all": ({"image": " "}, ("must not have leading or trailing whitespace",)),
    "no Secret's name": ({"secrets": needs("No Such!")}, ('secret "No Such!" not found',)),
}


@pytest.mark.parametrize("fault", HELD_UP)
def test_a_pod_that_is_held_up(space: Space, rest: Rest, gate: Gate, fault: str) -> None:
    """Kubernetes' reason is told soon, and is the failure's once the time to start is over."""
    further, words = HELD_UP[fault]
    nodes: Nodes = {
        "before": node(undo=gate.note("undo")),
        "a": node(after="before", startTimeout="13s", retries={"limit": 3}, **further),
    }
    space.start(nodes)
    until("a was launched", lambda: len(space.names("jobs")) == 2)
    told = Told(space, rest)
    told.until("pending", *words)
    written = iter(range(1000))

    def is_over() -> bool:
        # Others write to a pod, too; that doesn't make it start, nor begin its time anew.
        each = next(written)
        for pod in space.names("pods"):
            with suppress(AssertionError):  # it goes when its time is over
                space("annotate", pod, f"example.org/written={each}", "--overwrite")
        return bool(space.status("r")["state"] == "cancelled")

    until("it is over", is_over, pause=1)
    told.until("failed", *words)
    found = space.task_runs("r")["a", "do"]["status"]
    assert found["reason"] == "NotStarted"
    assert len(found["attempts"]) == 1
    assert gate.trace == ["undo"]
    until("nothing of it is left to start", lambda: len(space.names("pods")) == 2)


def test_a_secret_that_comes_later(space: Space, rest: Rest, gate: Gate) -> None:
    """What held it up is there: it starts, and nothing of the trouble is told any more."""
    space.start(
        {"a": node(gate.hold("a") + gate.note("it", "secrets['s']"), secrets=needs("late"))}
    )
    told = Told(space, rest)
    told.until("pending", 'secret "late" not found')
    space.apply(secret("late"))
    gate.wait("a")
    told.until("running", "")
    assert told.by_kubectl() == ("running", "")
    assert told.by_rest() == ("running", "")
    gate.release("a")
    space.wait_state("r", "complete")
    assert gate.noted("it") == "the value"


def test_an_undo_that_is_held_up(space: Space, gate: Gate) -> None:
    """The run rests in `aborted` and says why; with the trouble mended, `cancel` goes on."""
    nodes: Nodes = {
        "a": node(undo=gate.note("undo a")),
        "b": node(undo=gate.note("undo b"), after="a", secrets=needs("gone"), startTimeout="12s"),
        "c": node(gate.hold("c") + "1 / 0", after="b"),
    }
    space.apply(secret("gone"))
    space.start(nodes)
    gate.wait("c")
    space("delete", "secret/gone")
    gate.release("c")
    space.wait_state("r", "aborted")
    found = space.task_runs("r")["b", "undo"]["status"]
    assert (found["state"], found["reason"]) == ("failed", "NotStarted")
    assert 'secret "gone" not found' in found["message"]
    assert "'b'" in space.status("r")["message"]
    space.apply(secret("gone"))
    space.operate("r", "cancel", "on")
    space.wait_state("r", "cancelled")
    assert gate.trace == ["c", "undo b", "undo a"]


def test_a_container_that_has_too_little_memory_to_start(space: Space, rest: Rest) -> None:
    """Nothing began, so it is tried again, a few times."""
    space.start({"a": node(resources={"limits": {"memory": "6Mi"}})})
    space.wait_state("r", "cancelled", within=90)
    Told(space, rest).until("failed", "memory", "OOMKilled", "oom")
    assert space.task_runs("r")["a", "do"]["status"]["reason"] == "NotStarted"
