"""Images of Dockerfiles: by Docker where it answers, else by buildah. Both take the same file.

    python -m tests.cluster.dockerfiles TAG DIRECTORY    build DIRECTORY/Dockerfile, load the image

Its first line is `ARG BASE=python:3.x-slim`. Docker builds it as it stands. buildah, where no image
registry can be reached, builds it on the base that `images.py` makes, with packages fetched outside
(`wheels.py`): so what is tested is what ships.

An image is built again when something has changed that goes in, which is what its Dockerfile copies.
"""

import argparse
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.cluster import archives, images, kind, places, requirements, steps, wheels
from tests.cluster.steps import ClusterFailure, run, say, step

KEPT_ARCHIVES: Final = 3
MOST_LAYERS: Final = 400
"""That buildah keeps for the next build, some 2 GB; with more it starts afresh."""
COPIES: Final = re.compile(r"^COPY (?!--from)(?P<sources>.+) \S+$", re.MULTILINE)
WHEELS: Final = "/wheels"
LEFT_OUT: Final = ("__pycache__",)


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image's name, and the Dockerfile and the context that it is made of."""

    name: str
    dockerfile: Path
    context: Path

    def files(self) -> Iterator[Path]:
        """All files that the Dockerfile copies out of the context. Raises ClusterFailure."""
        for found in COPIES.finditer(self.dockerfile.read_text()):
            for source in found["sources"].split():
                path = self.context / source
                if not path.exists():
                    raise ClusterFailure(f"{self.dockerfile} copies {source}, which isn't there.")
                yield from _files_in(path)

    def key(self) -> str:
        """What tells this image from one of other files, other recipe or other base."""
        digest = hashlib.sha256(f"{images.BASE_IMAGE} {_docker_answers()}".encode())
        ignoring = self.context / ".dockerignore"
        for file in [self.dockerfile, ignoring, *self.files()]:
            if file.exists():
                told = f"{file.relative_to(self.context)} {os.access(file, os.X_OK)}"
                digest.update(hashlib.sha256(told.encode()).digest())
                digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()[:16]


def _files_in(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.name not in LEFT_OUT:
        for each in sorted(path.iterdir()):
            yield from _files_in(each)


@cache
def _docker_answers() -> bool:
    return kind.docker_answers()


def built(recipe: Recipe) -> Path:
    """The archive of the image, built if the cache doesn't have it. Raises ClusterFailure."""
    whole = images.archive_of(recipe.name)
    archive = whole.with_stem(f"{whole.stem}-{recipe.key()}")
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        draft = archive.with_suffix(".draft")
        draft.unlink(missing_ok=True)  # buildah adds to an archive, it doesn't replace it
        how = "Docker" if _docker_answers() else "buildah"
        with step(f"Building {recipe.name} by {how}"):
            (_by_docker if _docker_answers() else _by_buildah)(recipe, draft)
        draft.rename(archive)
    os.utime(archive)
    kept = sorted(whole.parent.glob(f"{whole.stem}-*.tar"), key=lambda file: file.stat().st_mtime)
    for old in kept[:-KEPT_ARCHIVES]:
        old.unlink()
    return archive


def _by_docker(recipe: Recipe, archive: Path) -> None:
    named = [f"--tag={recipe.name}", f"--file={recipe.dockerfile}"]
    run(["docker", "build", "--quiet", *named, recipe.context])
    run(["docker", "save", f"--output={archive}", recipe.name])


def _by_buildah(recipe: Recipe, archive: Path) -> None:
    requirements.require(requirements.IMAGES)
    origin = images.base()
    python = dict(line.split("=", 1) for line in archives.configuration(origin)["Env"])
    pinned = [file for file in recipe.files() if re.fullmatch(r"requirements.*\.txt", file.name)]
    buildah = _buildah()
    if not run([*buildah, "images", "--quiet", "--filter", f"reference={images.BASE_IMAGE}"]):
        run([*buildah, "pull", "--quiet", f"oci-archive:{origin}:{images.BASE_IMAGE}"])
    how = ["--isolation=chroot", "--pull=never", "--layers"]
    told = {"BASE": images.BASE_IMAGE}
    if pinned:
        folder = wheels.fetched(pinned, python["PYTHON_VERSION"])
        how.append(f"--volume={folder}:{WHEELS}:ro")
        told |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELS}
    how += [f"--build-arg={name}={value}" for name, value in told.items()]
    named = [f"--tag={recipe.name}", f"--file={recipe.dockerfile}"]
    run([*buildah, "build", *how, *named, recipe.context])
    run([*buildah, "push", "--quiet", recipe.name, f"oci-archive:{archive}:{recipe.name}"])


def _buildah() -> list[str]:
    """The command with its storage: overlays where they work, else copies (as within an overlay)."""
    storage = places.cache_folder() / "buildah"
    # In mounts of its own: what it mounts to work on goes when it ends, and isn't left here.
    apart = ["unshare", "--mount", "--"] if os.geteuid() == 0 else []
    for driver in ("overlay", "vfs"):
        own = storage / driver
        command = [*apart, "buildah", f"--storage-driver={driver}", f"--root={own}/root"]
        command.append(f"--runroot={own}/run")
        try:
            layers = run([*command, "images", "--all", "--quiet"]).split()
        except ClusterFailure:
            if driver == "vfs":
                raise
            continue
        if len(layers) > MOST_LAYERS:
            shutil.rmtree(own)
        break
    return command


def main() -> int:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.dockerfiles", description=__doc__
    )
    parser.add_argument("tag")
    parser.add_argument("directory", type=Path)
    told = parser.parse_args()
    recipe = Recipe(told.tag, told.directory / "Dockerfile", told.directory)

    def act() -> None:
        archive = built(recipe)
        images.load(archive)
        say(str(archive))

    return steps.main(act, "images")


if __name__ == "__main__":
    sys.exit(main())
