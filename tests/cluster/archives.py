"""The archive of an image: a tar file of its layers, which are tar files, and a few lines of JSON."""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

DOCKERS: Final = "manifest.json"
"""What Docker has beside, or instead of, the files of an OCI archive."""
HEAD: Final = 16
"""Bytes of a file that are kept: a .pyc says in them how it is checked."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a link in an image: its owner, its mode and how it begins."""

    user: int
    group: int
    mode: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Image:
    """What an image is called, and what runs in it."""

    name: str
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    user: str = ""
    environment: dict[str, str] = field(default_factory=dict)


def add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _add_blob(archive: tarfile.TarFile, kind: str, content: bytes) -> dict[str, Any]:
    """Add a blob; gives the descriptor by which others point at it."""
    digest = hashlib.sha256(content).hexdigest()
    add(archive, f"blobs/sha256/{digest}", content)
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}


def write(target: Path, image: Image, layer: bytes) -> None:
    """Write an OCI archive of one layer (an uncompressed tar)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".draft")
    config = {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {
            "Env": [f"{k}={v}" for k, v in ({"PATH": PATH} | image.environment).items()],
            "Entrypoint": image.entrypoint,
            "Cmd": image.command,
            "User": image.user,
            "WorkingDir": "/",
        },
        "history": [{"created_by": "tests.cluster.images"}],  # buildah caches no layers without
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
        },
    }
    with tarfile.open(draft, "w") as archive:
        add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
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
        add(archive, "index.json", json.dumps(index).encode())
    draft.replace(target)


def configuration(archive: Path) -> dict[str, Any]:
    """The configuration of the one image in an archive: `Env`, `User`, `Labels` and so on."""
    with tarfile.open(archive) as opened:
        name, _ = _parts(opened)
        told: dict[str, Any] = _read(opened, name)["config"]
        return told


def entries(archive: Path) -> dict[str, Entry]:
    """All files and links in the image's root as they are for who runs it, by path."""
    seen: dict[str, Entry] = {}
    with tarfile.open(archive) as opened:
        _, layers = _parts(opened)
        for layer in layers:
            with tarfile.open(fileobj=opened.extractfile(layer)) as content:
                for each in content:
                    path = Path("/", each.name)
                    if path.name.startswith(".wh."):  # a later layer removes it
                        seen.pop(str(path.with_name(path.name[4:])), None)
                    elif not each.isdir():
                        file = content.extractfile(each) if each.isfile() else None
                        head = file.read(HEAD) if file else b""
                        seen[str(path)] = Entry(each.uid, each.gid, each.mode, head)
    return seen


def _parts(opened: tarfile.TarFile) -> tuple[str, list[str]]:
    """The names of the configuration and the layers, in an archive by Docker or one of OCI."""
    if DOCKERS in opened.getnames():
        [image] = _read(opened, DOCKERS)
        return image["Config"], image["Layers"]
    [entry] = _read(opened, "index.json")["manifests"]
    manifest = _read(opened, _place(entry))
    return _place(manifest["config"]), [_place(layer) for layer in manifest["layers"]]


def _place(descriptor: dict[str, Any]) -> str:
    return f"blobs/{descriptor['digest'].replace(':', '/')}"


def _read(opened: tarfile.TarFile, name: str) -> Any:
    content = opened.extractfile(name)
    assert content is not None, f"{name} is a file"
    return json.loads(content.read())
