"""`make cluster-down`: end what `make cluster-up` started, whole or in part, and leave nothing."""

import os
import sys

from tests.cluster import kind, node, places
from tests.cluster.steps import locked, main, say


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


def down_if_started_by(session: str) -> None:
    """End the cluster if that run of the tests has started it. Raises ClusterFailure."""
    own = places.State.here().session
    if own.exists() and own.read_text() == session:
        with locked():
            down()


if __name__ == "__main__":
    sys.exit(main(down))
