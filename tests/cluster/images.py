"""Images without a container engine and without a registry.

    python -m tests.cluster.images base                        a Python base image; prints its file
    python -m tests.cluster.images build TAG DIRECTORY         a Dockerfile's image, into the cluster
    python -m tests.cluster.images load FILE                   an image's archive, into the cluster

An image is a tar file of its layers and a few lines of JSON, written here: the pause image is one
static binary, the Python base is what mmdebstrap puts out. A Dockerfile is built by buildah, on that
base, so that what is tested is what ships. Its first line is `ARG BASE=python:3.x-slim`.
"""

import argparse
import gzip
import hashlib
import io
import json
import platform
import shutil
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.cluster import places, requirements
from tests.cluster.settings import PAUSE_IMAGE
from tests.cluster.steps import ClusterFailure, locked, run, say, step

BASE_IMAGE: Final = "localhost/python-base:1"
"""The tag counts up with the recipe below. Not `latest`: that would be pulled."""
BASE_PACKAGES: Final = ("python3", "python3-pip", "dash", "coreutils", "base-files")
EXCLUDED: Final = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is called, and what runs in it."""

    name: str
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    user: str = ""


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _add_blob(archive: tarfile.TarFile, kind: str, content: bytes) -> dict[str, Any]:
    """Add a blob; gives the descriptor by which others point at it."""
    digest = hashlib.sha256(content).hexdigest()
    _add(archive, f"blobs/sha256/{digest}", content)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


def write_archive(target: Path, image: Image, layer: bytes) -> None:
    """Write an OCI archive of one layer (an uncompressed tar)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".draft")
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "Env": [PATH],
            "Entrypoint": image.entrypoint,
            "Cmd": image.command,
            "User": image.user,
            "WorkingDir": "/",
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
        },
    }
    with tarfile.open(draft, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _add_blob(archive, CONFIG, json.dumps(config).encode()),
            "layers": [_add_blob(archive, LAYER, gzip.compress(layer, 1, mtime=0))],
        }
        entry = _add_blob(archive, MANIFEST, json.dumps(manifest).encode())
        entry["annotations"] = {
            "io.containerd.image.name": image.name,  # read by `ctr image import`
            "org.opencontainers.image.ref.name": image.name,  # by everybody else
        }
        index = {"schemaVersion": 2, "manifests": [entry]}
        _add(archive, "index.json", json.dumps(index).encode())
    draft.replace(target)


def _archive(name: str) -> Path:
    return places.cache_folder() / "images" / f"{name.rpartition('/')[2].replace(':', '-')}.tar"


def load_pause(state: places.State) -> None:
    """Make the image of the pods' pause process and load it. Raises ClusterFailure."""
    archive = _archive(PAUSE_IMAGE)
    if not archive.exists():
        program = shutil.which("catatonit")
        if program is None:
            raise ClusterFailure("catatonit isn't there, of which the pause image is made")
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as content:
            _add(content, "catatonit", Path(program).read_bytes(), 0o755)
        pause = Image(PAUSE_IMAGE, entrypoint=["/catatonit", "-P"], user="65535:65535")
        write_archive(archive, pause, layer.getvalue())
    _import(state, archive)


def base() -> Path:
    """The archive of the Python base image, made if the cache doesn't have it."""
    archive = _archive(BASE_IMAGE)
    if archive.exists():
        return archive
    requirements.require(requirements.IMAGES)
    with step("Making the Python base image: half a minute, once"):
        layer = archive.with_suffix(".layer")
        archive.parent.mkdir(parents=True, exist_ok=True)
        try:
            run(["mmdebstrap", *_base_options(), _suite(), str(layer), *_sources()])
            image = Image(BASE_IMAGE, command=["python3"])
            write_archive(archive, image, layer.read_bytes())
        finally:
            layer.unlink(missing_ok=True)
    return archive


def _base_options() -> list[str]:
    # The packages' files alone, none of their scripts run: so links that these would make are made
    # here, and /bin is a link to /usr/bin from the start.
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
        *(f"--customize-hook={line}" for line in finish),
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


def build(name: str, directory: Path) -> Path:
    """Build the Dockerfile in `directory` on the Python base; gives the archive of image `name`."""
    requirements.require(requirements.IMAGES)
    archive, origin = _archive(name), base()
    storage = places.cache_folder() / "buildah"
    # vfs: copies instead of overlays, which works anywhere, also within another overlay.
    buildah = ["buildah", "--storage-driver=vfs", f"--root={storage}/root"]
    buildah.append(f"--runroot={storage}/run")
    with step(f"Building {name} from {directory}"):
        if not run([*buildah, "images", "--quiet", "--filter", f"reference={BASE_IMAGE}"]).strip():
            run([*buildah, "pull", "--quiet", f"oci-archive:{origin}:{BASE_IMAGE}"])
        how = ["--isolation=chroot", "--pull=never", f"--build-arg=BASE={BASE_IMAGE}"]
        run([*buildah, "build", *how, f"--tag={name}", str(directory)])
        archive.unlink(missing_ok=True)  # buildah adds to an archive, it doesn't replace it
        run([*buildah, "push", "--quiet", name, f"oci-archive:{archive}:{name}"])
        run([*buildah, "rmi", "--prune"])  # what the name stood for until now
    return archive


def main() -> int:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster.images", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("base")
    building = kinds.add_parser("build")
    building.add_argument("tag")
    building.add_argument("directory", type=Path)
    kinds.add_parser("load").add_argument("file", type=Path)
    told = parser.parse_args()
    try:
        with locked():
            if told.kind == "base":
                say(str(base()))
            elif told.kind == "build":
                load(build(told.tag, told.directory))
            else:
                load(told.file)
    except ClusterFailure as failure:
        print(f"Failed: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
