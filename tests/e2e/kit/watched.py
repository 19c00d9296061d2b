"""What came into being in a namespace, in order: also what is gone again when one looks.

Names, labels and states have no `|`, which parts them here (kubectl would make spaces of tabs).
"""

import subprocess
import threading
from dataclasses import dataclass
from typing import Final

from tests.e2e.kit.space import Space, until

FIELDS: Final = (
    ".type",
    ".object.metadata.resourceVersion",
    ".object.metadata.name",
    ".object.metadata.uid",
    r".object.metadata.labels.xaas\.dev/run",
    r".object.metadata.annotations.xaas\.dev/ref",
    r".object.metadata.labels.xaas\.dev/process-type",
    r".object.metadata.labels.xaas\.dev/attempt",
    r".object.metadata.labels.xaas\.dev/launch",
    ".object.status.state",
)

SYNCED_WITHIN: Final = 20.0


@dataclass(frozen=True)
class Seen:
    """One event of a watch. `version` is comparable over all kinds: one etcd counts for all."""

    type: str
    version: int
    name: str
    uid: str
    run: str
    ref: str
    side: str
    attempt: str
    launch: str
    state: str

    @property
    def task_run_attempt(self) -> tuple[str, str, str, str]:
        """What there must be one Job for at most."""
        return (self.run, self.ref, self.side, self.attempt)


class Watched:
    """`kubectl get KIND --watch`, from now until `close`."""

    def __init__(self, space: Space, kind: str) -> None:
        self.seen: list[Seen] = []
        row = "|".join(f"{{{field}}}" for field in FIELDS)
        self._process = subprocess.Popen(
            [
                str(space.kubectl.program),
                f"--kubeconfig={space.kubectl.kubeconfig}",
                f"--namespace={space.name}",
                *("get", kind, "--watch", "--output-watch-events"),
                "--output=jsonpath=" + row + r"{'\n'}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            kind, version, *rest = line.rstrip("\n").split("|")
            self.seen.append(Seen(kind, int(version), *rest))

    def added(self) -> list[Seen]:
        """What came into being, in order."""
        return [each for each in list(self.seen) if each.type == "ADDED"]

    def until_seen(self, uids: set[str]) -> None:
        """Until all of these have been seen: what is there now, the watch must have told."""
        until(
            "the watch has told all",
            lambda: uids <= {each.uid for each in self.added()},
            SYNCED_WITHIN,
        )

    def close(self) -> None:
        """Watch no more."""
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
