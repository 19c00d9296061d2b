"""Images without a container engine and without a registry.

    python -m tests.cluster.images base         a Python base image; prints its file
    python -m tests.cluster.images load FILE    an image's archive, into the cluster

The pause image is one static binary, the Python base is what mmdebstrap puts out. What is built on
that: `dockerfiles.py`.
"""

import argparse
import io
import platform
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Final

from tests.cluster import places, requirements, steps
from tests.cluster.archives import Image, add, write
from tests.cluster.settings import PAUSE_IMAGE
from tests.cluster.steps import ClusterFailure, run, say, step

BASE_IMAGE: Final = "localhost/python-base:2"
"""The tag counts up with the recipe below. Not `latest`: that would be pulled."""
BASE_PACKAGES: Final = ("python3", "python3-pip", "dash", "coreutils", "base-files")
EXCLUDED: Final = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")


def archive_of(name: str) -> Path:
    """Where the cache has, or is to have, the archive of image `name`."""
    return places.cache_folder() / "images" / f"{name.rpartition('/')[2].replace(':', '-')}.tar"


def load_pause(state: places.State) -> None:
    """Make the image of the pods' pause process and load it. Raises ClusterFailure."""
    archive = archive_of(PAUSE_IMAGE)
    if not archive.exists():
        program = shutil.which("catatonit")
        if program is None:
            raise ClusterFailure("catatonit isn't there, of which the pause image is made")
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as content:
            add(content, "catatonit", Path(program).read_bytes(), 0o755)
        pause = Image(PAUSE_IMAGE, entrypoint=["/catatonit", "-P"], user="65535:65535")
        write(archive, pause, layer.getvalue())
    _import(state, archive)


def base() -> Path:
    """The archive of the Python base image, made if the cache doesn't have it."""
    archive = archive_of(BASE_IMAGE)
    if archive.exists():
        return archive
    requirements.require(requirements.IMAGES)
    with step("Making the Python base image: half a minute, once"):
        layer = archive.with_suffix(".layer")
        archive.parent.mkdir(parents=True, exist_ok=True)
        try:
            run(["mmdebstrap", *_base_options(), _suite(), str(layer), *_sources()])
            # As the official images say it: which packages fit is known without a look inside.
            told = {"PYTHON_VERSION": _python_in(layer)}
            image = Image(BASE_IMAGE, command=["python3"], environment=told)
            write(archive, image, layer.read_bytes())
        finally:
            layer.unlink(missing_ok=True)
    return archive


def _python_in(layer: Path) -> str:
    """The version of the layer's Python, like 3.11: its interpreter is a link to that one."""
    with tarfile.open(layer) as content:
        return content.getmember("./usr/bin/python3").linkname.removeprefix("python")


def _base_options() -> list[str]:
    # The packages' files alone, none of their scripts run: so links that these would make are made
    # here, and /bin is a link to /usr/bin from the start. (The later hooks aren't called then.)
    finish = (
        'ln -sf python3 "$1/usr/bin/python"',
        'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
        'test -e "$1/bin/sh" || ln -s dash "$1/bin/sh"',
        'mkdir -p "$1/tmp" && chmod 1777 "$1/tmp"',
        'printf "root:x:0:0::/root:/bin/sh\\nnobody:x:65534:65534::/:/bin/sh\\n" > "$1/etc/passwd"',
        'printf "root:x:0:\\nnogroup:x:65534:\\n" > "$1/etc/group"',
        'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/etc/apt/sources.list*',
    )
    return [
        "--quiet",
        "--format=tar",
        "--variant=extract",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        f"--include={','.join(BASE_PACKAGES)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED),
        *(f"--extract-hook={line}" for line in finish),
    ]


def _suite() -> str:
    """The machine's own Debian: its sources are known to be reachable."""
    told = platform.freedesktop_os_release()
    if told.get("ID") != "debian":
        raise ClusterFailure(
            f"The Python base image is made of Debian packages; this is {told.get('ID')}. Where "
            "Docker runs, build the images with it."
        )
    return told["VERSION_CODENAME"]


def _sources() -> list[str]:
    """apt's own sources of Debian, where the machine has them; else mmdebstrap's default."""
    places_of_sources = ("sources.list.d/debian.sources", "sources.list")
    files = [Path("/etc/apt") / name for name in places_of_sources]
    return [str(file) for file in files if file.exists()][:1]


def _import(state: places.State, archive: Path) -> None:
    address = f"--address={state.containerd_socket}"
    run(["ctr", address, "--namespace=k8s.io", "image", "import", str(archive)])


def load(archive: Path) -> None:
    """Load an image's archive into the cluster that runs. Raises ClusterFailure."""
    state = places.State.here()
    provider = state.provider.read_text().strip() if state.provider.exists() else ""
    if provider == "kind":
        run(["kind", "load", "image-archive", str(archive), "--name", places.NAME])
    elif provider == "modules":
        _import(state, archive)
    else:
        raise ClusterFailure(
            f"No cluster of `make cluster-up` runs in {state.folder}. Into a cluster of your own "
            "(XAAS_TEST_KUBECONFIG) images come by a registry it pulls from."
        )


def main() -> int:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.images", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("base")
    kinds.add_parser("load").add_argument("file", type=Path)
    told = parser.parse_args()

    def act() -> None:
        if told.kind == "base":
            say(str(base()))
        else:
            load(told.file)

    return steps.main(act, "images")


if __name__ == "__main__":
    sys.exit(main())
