"""What goes wrong between our processes and the cluster, and when.

Every request of an operator passes here twice: before it is carried out, and after. These are the
points at which something may strike (`faults.Strike`), and at each of them chance has its say.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.simulation.faults import Faults, Strike
from tests.simulation.kubernetes.virtual_loop import Chance

FROZEN_FOR = 20.0
"""Seconds for which the `lag` strike holds back what watches tell."""


@dataclass(frozen=True)
class KubeFaults(Faults):
    """Chances of what may go wrong on Kubernetes, beside `Faults`.

    Of a watch when it begins: `cut`, it ends, or with an error, some time later; `old`, with 410;
    `mute`, it says nothing any more; `lag`, all it tells is late, by up to 5 s each; `repeats`, it
    tells some again. Of a request: `late`, it is given up soon, and carried out later. Of a pod:
    `evicted`, its node is `gone`, `unseen` (its end is reported late), `out_of_memory`. `paged`:
    lists come in small pages; `lease`: of several operators one leads, by the Lease. `api_dies`: per
    second, the API's process is restarted. `lookahead`: runners that may be started ahead of their turn.
    `kept`: seconds that finished Jobs are kept, which decides when they are told so.
    """

    cut: float = 0.0
    old: float = 0.0
    mute: float = 0.0
    lag: float = 0.0
    repeats: float = 0.0
    late: float = 0.0
    evicted: float = 0.0
    gone: float = 0.0
    out_of_memory: float = 0.0
    paged: bool = False
    lease: bool = False
    api_dies: float = 0.0
    lookahead: int = 0
    kept: int = 30

    @property
    def strict(self) -> bool:
        """Whether no request comes from a process that leads no more, or gave it up."""
        return super().strict and not self.late

    @property
    def blind(self) -> bool:
        """Whether a process may not see what is there, for seconds."""
        return self.servers > 1 or any((self.cut, self.mute, self.lag, self.lost, self.old))


class Crash(BaseException):
    """The process that makes a request dies there."""


@dataclass(frozen=True)
class Fate:
    """What becomes of one request. Seconds. `answer`: what is said instead of the answer."""

    before: float
    after: float
    done: bool = True
    later: float | None = None
    error: str = ""


class KubeWeather:
    """Decides by `faults`, or strikes once as told."""

    def __init__(self, chance: Chance, faults: KubeFaults, strike: Strike | None) -> None:
        self.chance = chance
        self.faults = faults
        self._strike = strike
        self.points = 0
        self.faulty = True
        self.counting = True
        self.frozen_until = 0.0
        self.strikes: dict[str, Callable[[], None]] = {}
        self.note: Callable[..., None] = lambda *_: None

    def calm(self) -> "KubeWeather":
        """For those to whom nothing happens."""
        calm = KubeWeather(self.chance, KubeFaults(), None)
        calm.note = self.note
        return calm

    def may(self, chance: float, *words: str) -> bool:
        """Whether it happens now."""
        return self.faulty and self.chance.may(chance, *words)

    def point(self, process: str, label: str) -> str:
        """Pass a point; the answer is `crash`, `lose` or nothing."""
        if self.counting:
            self.points += 1
            if self._strike is not None and self.points == self._strike.at:
                self.note("STRIKE %s at %s %s", self._strike.kind, process, label)
                if self._strike.kind in ("crash", "lose"):
                    return self._strike.kind
                self.strikes[self._strike.kind]()
        return "crash" if self.may(self.faults.crash / 2, process, label, "crash") else ""

    def fate(self, process: str, label: str) -> Fate:
        """What becomes of a request."""
        chance, faults, words = self.chance, self.faults, (process, label)
        fate = Fate(
            chance.between(0.0005, 0.004, *words, "there"),
            chance.between(0.0005, 0.004, *words, "back"),
        )
        if self.may(faults.slow, *words, "slow"):
            fate = replace(fate, before=chance.between(0.01, 8.0, *words, "slow by"))
        if self.may(faults.unavailable, *words, "unavailable"):
            error = ("429", "500", "503", "timeout")[int(chance.of(*words, "error") * 4)]
            return replace(fate, done=False, error=error)
        if self.may(faults.lost, *words, "lost"):
            error = ("500", "504", "timeout", "reset")[int(chance.of(*words, "error") * 4)]
            return replace(fate, error=error)
        if self.may(faults.late, *words, "late"):
            late = chance.between(0.0, 11.0, *words, "late by")
            return replace(fate, done=False, later=late, error="reset")
        return fate

    def watch_fate(self, process: str, label: str) -> tuple[str, float]:
        """How a watch ends before its time, and after how many seconds; empty if it doesn't."""
        chance, words = self.chance, (process, label)
        for kind in ("cut", "old", "mute", "repeats"):
            if self.may(getattr(self.faults, kind), *words, kind):
                return kind, chance.between(0.0, 30.0, *words, kind, "after")
        return "", 0.0

    def delay(self, process: str, label: str, now: float) -> float:
        """Seconds until an event arrives."""
        held = max(self.frozen_until - now, 0.0)
        words = (process, label, "event")
        if self.may(self.faults.lag, *words, "lags"):
            held += self.chance.between(0.0, 5.0, *words, "lag")
        return held + self.chance.between(0.0003, 0.003, *words)
