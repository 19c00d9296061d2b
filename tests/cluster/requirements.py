"""The commands the cluster needs, and the Debian packages that bring them."""

import os
import shutil
from pathlib import Path
from typing import Final

from tests.cluster.steps import ClusterFailure, locked, run, step

NODE: Final = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "catatonit": "catatonit",  # the pods' pause process, and the one that holds the namespaces
    "ip": "iproute2",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "openssl": "openssl",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "mount": "mount",
}
IMAGES: Final = {
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
GO: Final = {"/etc/ssl/certs/ca-certificates.crt": "ca-certificates"}
"""Go asks for modules over https, and has no authorities of its own."""


def _is_there(command: str) -> bool:
    return Path(command).exists() if command.startswith("/") else bool(shutil.which(command))


def require(commands: dict[str, str]) -> None:
    """Have all of `commands` (name or path, to Debian package); install what is missing.

    Raises ClusterFailure if something is missing that can't be installed.
    """
    missing = sorted(name for name in commands if not _is_there(name))
    if not missing:
        return
    packages = sorted({commands[name] for name in missing})
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ClusterFailure(
            f"Missing: {', '.join(missing)}. On Debian, as root: apt-get install "
            f"{' '.join(packages)}"
        )
    with locked("packages"), step(f"Installing {' '.join(packages)}"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], environment=quiet)
        install = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages]
        run(install, environment=quiet)
    if still := sorted(name for name in missing if not _is_there(name)):
        raise ClusterFailure(f"{', '.join(still)} missing after installing {' '.join(packages)}")
