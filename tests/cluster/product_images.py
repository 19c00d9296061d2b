"""`make images`: the product's two images, built, and loaded into the test cluster if that is up.

Nothing that has been done already is done again: an image is kept by what it is made of, and the
cluster's state says which it has.
"""

import sys
from pathlib import Path
from typing import Final

from tests.cluster import dockerfiles, images, places, steps
from tests.cluster.dockerfiles import Recipe
from tests.cluster.steps import say, step

RUNNER: Final = Recipe(
    "localhost/xaas-runner:dev",
    places.ROOT / "runner-image" / "Dockerfile",
    places.ROOT / "runner-image",
)
SERVICE: Final = Recipe(
    "localhost/xaas-pipeline:dev", places.ROOT / "operator" / "Dockerfile", places.ROOT
)


def load() -> None:
    """Have both images in the cluster that is up, as the tree is now. Raises ClusterFailure."""
    for recipe in (RUNNER, SERVICE):
        _load(recipe.name, dockerfiles.built(recipe))


def _load(name: str, archive: Path) -> None:
    loaded = places.State.here().loaded / name.replace("/", "-")
    if loaded.exists() and loaded.read_text() == archive.name:
        return
    with step(f"Loading {name} into the cluster"):
        images.load(archive)
    steps.write(loaded, archive.name)


def _make() -> None:
    up = places.State.here().kubeconfig.exists()
    for recipe in (RUNNER, SERVICE):
        archive = dockerfiles.built(recipe)
        say(f"{recipe.name}: {archive}")
        if up:
            _load(recipe.name, archive)
    say("Both are in the test cluster." if up else "No test cluster is up to load them into.")


if __name__ == "__main__":
    sys.exit(steps.main(_make, "images"))
