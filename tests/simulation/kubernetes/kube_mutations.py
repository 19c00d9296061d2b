"""Deliberate defects of what is Kubernetes' own: the simulation must find each of them.

As in `tests.simulation.mutations`: each takes one safeguard away for as long as it is installed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.simulation.faults import Kind
from tests.simulation.kubernetes import kube_golden, kube_scenarios
from tests.simulation.mutations import Defects, Patch, installed
from tests.simulation.rules import Violation

from xaas_core import gateway, reconciler
from xaas_core.engine.facts import Phase, Sighting
from xaas_kube import sightings
from xaas_kube.client import JSON_PATCH, MERGE_PATCH
from xaas_kube.commits import Commits
from xaas_kube.informer import Informer
from xaas_kube.launcher import JobLauncher
from xaas_kube.records import Records
from xaas_kube.retirement import Retirement
from xaas_kube.run_index import RunIndex
from xaas_kube.store import KubernetesStore


class Unguarded:
    """A client whose JSON patches are written whatever the version is."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def patch(self, path: str, patch: Any, content_type: str = MERGE_PATCH) -> Any:
        """See KubeClient."""
        if content_type == JSON_PATCH:
            patch = [each for each in patch if "resourceVersion" not in each["path"]]
        return await self._client.patch(path, patch, content_type)


def records_unguarded() -> list[Patch]:
    """A record is replaced in whatever version it is."""
    original = Records.__init__

    def init(self: Any, client: Any, *more: Any) -> None:
        original(self, Unguarded(client), *more)  # type: ignore[arg-type]

    return [(Records, "__init__", init)]


def status_unguarded() -> list[Patch]:
    """A run's status is written over whatever was written meanwhile."""
    original = Commits._write_status

    async def write_status(self: Any, known: Any, writes: Any) -> None:
        if not isinstance(self._client, Unguarded):
            self._client = Unguarded(self._client)
        await original(self, known, writes)

    return [(Commits, "_write_status", write_status)]


def records_behind() -> list[Patch]:
    """Records that are older than the history are decided on."""
    return [(module, "behind", lambda *facts: []) for module in (reconciler, gateway)]


def gone_because_unseen() -> list[Patch]:
    """A runner that isn't seen is taken to be over, without asking."""

    async def sight(self: Any, run: Any, runner: Any) -> Sighting:
        for seen in self._jobs_of(runner):
            if (seen.attempt, seen.launch) == (runner.attempt, runner.launch):
                return sightings.sight(seen, self._seen.pods_of(seen.namespace, seen.name))
        return Sighting(runner.attempt, runner.launch, Phase.OVER)

    return [(JobLauncher, "_sight", sight)]


def pods_unseen() -> list[Patch]:
    """A Job that is gone is gone with its pods."""

    async def is_there(self: Any, run: Any, runner: Any) -> bool:
        return False

    return [(JobLauncher, "_is_there", is_there)]


def over_by_a_container() -> list[Patch]:
    """A pod is over when the first of its containers has ended."""
    return [(sightings, "_all_ended", lambda item, ended: bool(ended))]


def deletions_lost() -> list[Patch]:
    """What vanished while nobody watched isn't noticed."""
    original = Informer._list

    async def listed(self: Any) -> None:
        known = self._versions
        self._versions = dict.fromkeys((), 0)
        try:
            await original(self)
        finally:
            self._versions = {**known, **self._versions}

    return [(Informer, "_list", listed)]


def watch_never_lists_again() -> list[Patch]:
    """A watch that is too old goes on from now."""
    original = Informer._list

    async def listed(self: Any) -> None:
        if not self.synced.is_set():
            await original(self)
            return
        page = await self._client.get(self._path, {"limit": 1}, self._accept[0])
        self._at = page["metadata"]["resourceVersion"]

    return [(Informer, "_list", listed)]


def never_put_aside() -> list[Patch]:
    """A run that is over stays in the watches."""

    async def retire(self: Any, run: Any) -> None:
        return None

    return [(KubernetesStore, "retire_run", retire)]


def never_taken_back() -> list[Patch]:
    """What is wanted of a run that was put aside is lost."""

    async def revive(self: Any, *place: Any) -> None:
        return None

    return [(Retirement, "revive", revive)]


def records_never_let_go() -> list[Patch]:
    """The records of runs that are over stay in memory."""
    return [(Records, "let_go", lambda self, run: None)]


def jobs_never_released() -> list[Patch]:
    """Jobs are kept for ever."""

    async def release(self: Any, runner: Any) -> None:
        return None

    return [(JobLauncher, "release", release)]


def changes_told_once() -> list[Patch]:
    """Of several changes at once, the feed gets the last."""
    original = RunIndex.seen

    def seen(self: Any, item: Any) -> None:
        log = (item.get("status") or {}).get("log")
        if log and len(log) > 1:
            item = {**item, "status": {**item["status"], "log": log[:1]}}
        original(self, item)

    return [(RunIndex, "seen", seen)]


KUBE_MUTATIONS: Defects = {
    defect.__name__: defect
    for defect in (
        records_unguarded,
        gone_because_unseen,
        pods_unseen,
        over_by_a_container,
        deletions_lost,
        watch_never_lists_again,
        never_put_aside,
        never_taken_back,
        records_never_let_go,
        jobs_never_released,
        changes_told_once,
        status_unguarded,
        records_behind,
    )
}

POINTS = 200
"""About as many as the golden run has."""

STRUCK: tuple[str, Kind, int] = ("success", "lose", 3)
"""Golden run, what strikes it, and at each how-manieth point: what no random run shows so soon."""


def shown_by(name: str, seeds: range) -> tuple[str, str] | None:
    """What shows a defect first, and what it says; None if nothing does."""
    with installed(name, KUBE_MUTATIONS):
        golden, kind, every = STRUCK
        plays: list[tuple[str, Callable[[], object]]] = [
            ("undisturbed", lambda: kube_golden.play(golden))
        ]
        plays += [
            (f"{golden}, {strike.kind}:{strike.at}", partial(kube_golden.play, golden, strike))
            for strike in kube_golden.strikes(golden, (kind,), every, points=POINTS)
        ]
        plays += [(f"seed {seed}", partial(kube_scenarios.play, seed)) for seed in seeds]
        for told, play in plays:
            try:
                play()
            except (Violation, AssertionError, LookupError) as found:
                return told, f"{type(found).__name__}: {found}"[:100]
    return None
