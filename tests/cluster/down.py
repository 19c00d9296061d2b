"""`make cluster-down`: end what `make cluster-up` started, whole or in part, and leave nothing."""

import os
import sys

from tests.cluster import kind, node, places
from tests.cluster.steps import main, say


def down() -> None:
    """End the cluster. Raises ClusterFailure."""
    if os.environ.get("XAAS_TEST_KUBECONFIG"):
        say("XAAS_TEST_KUBECONFIG names a cluster of yours: that one is left alone.")
    state = places.State.here()
    if not state.folder.exists():
        say("No cluster runs here.")
        return
    if state.provider.exists() and state.provider.read_text().strip() == "kind":
        kind.end(state)
    else:
        node.end(state)
    say("The cluster is down.")


if __name__ == "__main__":
    sys.exit(main(down))
