"""`make cluster-prepare`: build what the tests on a cluster need, and start nothing.

For `.ci/run`, which does this beside the tests that need no cluster. The longest comes first.
"""

import sys

from tests.cluster import binary, dockerfiles, helm_command, product_images, requirements
from tests.cluster.steps import locked, main, say
from tests.cluster.up import found, provider


def prepare() -> None:
    """Build Kubernetes where kind doesn't bring it, helm and the images. Raises ClusterFailure."""
    if found() is None and provider() == "modules":
        with locked():
            requirements.require(requirements.NODE)
            say(f"Kubernetes: {binary.built(binary.KUBERNETES)}")
    with locked("helm"):
        say(f"helm: {helm_command.found()}")
    with locked("images"):
        for recipe in (product_images.RUNNER, product_images.SERVICE):
            say(f"{recipe.name}: {dockerfiles.built(recipe)}")


if __name__ == "__main__":
    sys.exit(main(prepare, "preparation"))
