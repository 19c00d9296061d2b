"""Launches that are over: remembered for the reconciler, which may look at them once more.

Only the last runs are remembered: an outcome is recorded within moments, and a launch of which
nothing is known counts as gone all the same.
"""

from collections import OrderedDict
from typing import Final

from xaas_core.ports import RunnerKey
from xaas_local.launches import LaunchState

REMEMBERED: Final = 2_000
"""Runs whose ended launches are remembered, the last ones looked at: a few KB each."""


class EndedLaunches:
    """The launches that are over, by run."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._runs: OrderedDict[str, dict[RunnerKey, LaunchState]] = OrderedDict()

    def get(self, runner: RunnerKey) -> LaunchState | None:
        """A launch that is over; None if it isn't known."""
        run = self._runs.get(runner.run)
        if run is None:
            return None
        self._runs.move_to_end(runner.run)
        return run.get(runner)

    def add(self, state: LaunchState) -> None:
        """Remember a launch; what it replaces of its task run is forgotten."""
        of = state.runner
        run = self._runs.setdefault(of.run, {})
        for other in [known for known in run if (known.ref, known.side) == (of.ref, of.side)]:
            if (other.attempt, other.launch) < (of.attempt, of.launch):
                del run[other]
        run[of] = state
        self._runs.move_to_end(of.run)
        while len(self._runs) > self._remembered:
            self._runs.popitem(last=False)

    def forget(self, run: str) -> None:
        """Forget a run's launches."""
        self._runs.pop(run, None)
