"""The product's own parts, for tests that kill, stop and renew them while runs are under way."""

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.cluster import chart
from tests.cluster.kubectl import Kubectl
from tests.e2e.kit.space import until

Json = dict[str, Any]

OPERATOR: Final = "operator"
API: Final = "api"

REPLICAS: Final = 2
"""Of each, as the chart has it."""

READY_WITHIN: Final = "120s"
"""For all replicas of a part, on a machine that starts runners meanwhile."""


class Parts:
    """Operator and API. `bring` installs the chart with further values."""

    def __init__(self, kubectl: Kubectl, bring: Callable[[Json], None]) -> None:
        self._kubectl = kubectl
        self._bring = bring
        self._changed = False

    def pods(self, part: str) -> list[str]:
        """The names of a part's pods that aren't being deleted."""
        selector = f"app.kubernetes.io/instance={chart.RELEASE},app.kubernetes.io/component={part}"
        found = self._kubectl.get("pods", f"--selector={selector}", self._where)["items"]
        return [
            each["metadata"]["name"]
            for each in found
            if "deletionTimestamp" not in each["metadata"]
        ]

    def leader(self) -> str:
        """The operator's pod that leads, or led last."""
        lease = self._kubectl.get(f"lease/{chart.RELEASE}-operator", self._where)
        return str(lease["spec"].get("holderIdentity") or "").rpartition("_")[0]

    def kill(self, part: str, chance: Random) -> str:
        """End one pod of a part at once, as when its node goes; it isn't told beforehand."""
        name = chance.choice(sorted(self.pods(part)))
        self._end(name)
        return name

    def kill_leader(self) -> str:
        """End the pod that leads, likewise."""
        name = self.leader()
        self._end(name)
        return name

    def _end(self, name: str) -> None:
        forced = ("--force", "--grace-period=0", "--ignore-not-found")
        self._kubectl("delete", f"pod/{name}", self._where, *forced)

    def stop(self, part: str) -> None:
        """Have no pod of a part; returns when all are gone."""
        self._scale(part, 0)
        until(f"no {part} is left", lambda: not self._all(part))

    def start(self, part: str) -> None:
        """Have the usual number of pods of a part."""
        self._scale(part, REPLICAS)

    def renew(self, part: str) -> None:
        """Replace all pods of a part, one after the other; returns when that has begun."""
        self._kubectl("rollout", "restart", self._deployment(part), self._where)

    def upgrade(self, values: Json) -> None:
        """`helm upgrade` with these values beside the usual ones; returns when all is ready."""
        self._changed = True
        self._bring(values)

    def until_ready(self, *parts: str) -> None:
        """Until all pods of the parts are the newest, and ready."""
        for part in parts or (OPERATOR, API):
            words = ("rollout", "status", self._deployment(part), self._where)
            self._kubectl(*words, f"--timeout={READY_WITHIN}")

    def restore(self) -> None:
        """Leave it as it was found, whatever has become of the test."""
        if self._changed:
            self._bring({})
        for part in (OPERATOR, API):
            spec = json.loads(
                self._kubectl("get", self._deployment(part), self._where, "--output=json")
            )["spec"]
            if spec["replicas"] != REPLICAS:
                self._scale(part, REPLICAS)
        self.until_ready()

    def _scale(self, part: str, replicas: int) -> None:
        self._kubectl("scale", self._deployment(part), self._where, f"--replicas={replicas}")

    def _all(self, part: str) -> str:
        selector = f"app.kubernetes.io/instance={chart.RELEASE},app.kubernetes.io/component={part}"
        return self._kubectl("get", "pods", f"--selector={selector}", self._where, "--output=name")

    @staticmethod
    def _deployment(part: str) -> str:
        return f"deployment/{chart.RELEASE}-{part}"

    _where: Final = f"--namespace={chart.NAMESPACE}"
