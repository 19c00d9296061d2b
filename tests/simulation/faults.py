"""What is to be played: a run, what its users ask for, and what may go wrong."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from tests.simulation.rules import RunFacts


@dataclass(frozen=True)
class Faults:
    """Chances of what may go wrong, per call through a port, per call of a runner, or per Job."""

    slow: float = 0.0  # a call takes up to 8 s
    unavailable: float = 0.0  # a call fails, nothing done
    lost: float = 0.0  # a call is carried out, its answer lost
    crash: float = 0.0  # the server dies there
    zombie: float = 0.0  # of crashes: the call under way is carried out later
    away: float = 0.0  # a runner's call doesn't reach the gateway, or its answer is lost
    dies: float = 0.0  # a Job's processes are killed at some moment
    erased: float = 0.0  # of these: its traces, too
    again: float = 0.0  # a pod is started twice
    refused: float = 0.0  # a Job is refused for ever
    stuck: float = 0.0  # a Job stays pending
    unseen: float = 0.0  # the end of a Job is seen late
    deaf: float = 0.0  # a touch is lost or late
    servers: int = 1
    skew: int = 0  # servers' clocks are off by up to so many milliseconds, anew at each start

    @property
    def none(self) -> bool:
        """Whether nothing goes wrong."""
        return self == type(self)()

    @property
    def strict(self) -> bool:
        """Whether only one server acts at a time, dead servers' requests included."""
        return self.servers == 1 and not self.zombie


Kind = Literal["crash", "lose", "die", "erase", "drain", "relist", "lag"]
"""What may strike; see `Strike`."""


class Strike(NamedTuple):
    """One fault at one point of a play. Points are before and after each call through a port.

    `crash`: the server dies there. `lose`: the call fails there (before it, or after it was carried
    out). `die`: the processes of the oldest live Job are killed. On Kubernetes, where a point is one
    of an operator's requests, also `erase`: the oldest live Job is deleted by hand; `drain`: its pod
    is; `relist`: all watches are too old; `lag`: what they tell is late.
    """

    kind: Kind
    at: int


@dataclass(frozen=True)
class Scenario:
    """What is to be played.

    `operations` are pairs of a moment (milliseconds from the begin) and what a user asks for then:
    an operation's name, `suspend`, `resume`, `delete`, or `redefine`. `follow` is asked for after
    that, one after the other, each when the run has come to rest; None: by chance until it is over.
    """

    run: RunFacts
    operations: tuple[tuple[int, str], ...] = ()
    faults: Faults = Faults()
    faults_end: int = 120_000
    begin: bool = True  # the run is asked to run as it is created
    definitions_after: int | None = 0  # milliseconds; None: never
    follow: tuple[str, ...] | None = None
