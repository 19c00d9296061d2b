"""kubectl and helm, as users have them."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import places
from tests.cluster.steps import ClusterFailure


def program(name: str) -> Path:
    """The cluster's own `name`, else the one on the PATH. Raises ClusterFailure."""
    built = places.State.here().binaries / name
    if os.access(built, os.X_OK):
        return built
    if on_path := shutil.which(name):
        return Path(on_path)
    raise ClusterFailure(f"{name} isn't there: neither {built} nor on the PATH.")


@dataclass(frozen=True, slots=True)
class Kubectl:
    """kubectl with access to one cluster; an error is one of the test."""

    program: Path
    kubeconfig: Path

    def __call__(self, *words: str, given: object = None) -> str:
        """What kubectl says to `words`, and to an object as JSON on its standard input."""
        done = subprocess.run(
            [str(self.program), f"--kubeconfig={self.kubeconfig}", *words],
            input=None if given is None else json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def get(self, *words: str) -> Any:
        """What `kubectl get` gives."""
        return json.loads(self("get", *words, "--output=json"))
