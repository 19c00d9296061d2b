"""`make helm`: have helm, and say where. The machine's own if there is one, else built and kept."""

import platform
import shutil
import sys
from pathlib import Path

from tests.cluster import binary, places, steps
from tests.cluster.steps import ClusterFailure, say


def found() -> Path:
    """The helm to use, built if need be; linked beside kubectl where a cluster is.

    Raises ClusterFailure.
    """
    if own := shutil.which("helm"):
        return Path(own)
    if platform.system() != "Linux":
        raise ClusterFailure("helm isn't installed: https://helm.sh/docs/intro/install.")
    helm = binary.built(binary.HELM)
    state = places.State.here()
    if state.binaries.is_dir():
        binary.link(state, binary.HELM, helm)
        return state.binaries / "helm"
    return helm


if __name__ == "__main__":
    sys.exit(steps.main(lambda: say(f"helm: {found()}"), "helm"))
