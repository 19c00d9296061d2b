"""Where the test cluster keeps what it has, and the addresses and names it uses.

Two folders: the state (gone after `make cluster-down`) and the cache (binary and images, kept). Both
lie outside the tree, so that fresh clones share them.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NAME: Final = "xaas-test-cluster"
ROOT: Final = Path(__file__).resolve().parents[2]
OWN: Final = Path(__file__).resolve().parent
CRDS: Final = ROOT / "crds"

# 198.18.0.0/15 is set aside for tests of networks (RFC 2544): nobody's real address is hidden.
HOST_ADDRESS: Final = "198.18.254.1"
NODE_ADDRESS: Final = "198.18.254.2"
LINK_PREFIX: Final = 30
LINK_RANGE: Final = f"198.18.254.0/{LINK_PREFIX}"
POD_RANGE: Final = "198.18.0.0/17"
SERVICE_RANGE: Final = "198.19.0.0/16"
API_SERVICE_ADDRESS: Final = "198.19.0.1"
DNS_SERVICE_ADDRESS: Final = "198.19.0.10"
HOST_LINK: Final = "xaas-tc-host"  # names of links have 15 characters at most
NODE_LINK: Final = "xaas-tc-node"
API_URL: Final = f"https://{NODE_ADDRESS}:6443"

NODE_NAME: Final = "node"
CGROUP: Final = NAME
"""All of the pods' cgroups lie below one of this name, so that one removal gets them all."""

LONGEST_STATE: Final = 60
"""Characters of the state folder's path: a Unix socket's path has 107, and containerd's lie deep."""


def _user_folder(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    return Path(value) if Path(value).is_absolute() else Path.home() / default


def cache_folder() -> Path:
    """What is costly to make: the binary, images. Safe to delete when no cluster runs."""
    return _user_folder("XDG_CACHE_HOME", ".cache") / NAME


def _state_folder() -> Path:
    if own := os.environ.get("XAAS_CLUSTER_DIR"):
        return Path(own).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib") / NAME
    return _user_folder("XDG_STATE_HOME", ".local/state") / NAME


@dataclass(frozen=True, slots=True)
class State:
    """The folder of one running cluster, and what lies in it."""

    folder: Path

    @classmethod
    def here(cls) -> "State":
        """The state of this user's cluster: `XAAS_CLUSTER_DIR`, or the default."""
        return cls(_state_folder())

    @property
    def kubeconfig(self) -> Path:
        """Admin's access; written last, so that its being there means that the cluster came up."""
        return self.folder / "kubeconfig"

    @property
    def provider(self) -> Path:
        """A file that says who runs the cluster: `modules` or `kind`."""
        return self.folder / "provider"

    @property
    def session(self) -> Path:
        """A file that says which run of the tests has started the cluster, if one has."""
        return self.folder / "session"

    @property
    def holder(self) -> Path:
        """The pid file of the process that holds the namespaces."""
        return self.folder / "holder.pid"

    @property
    def binaries(self) -> Path:
        """Links to the all-in-one binary, by the components' names."""
        return self.folder / "bin"

    @property
    def certificates(self) -> Path:
        """Keys and certificates of the authority and of each component."""
        return self.folder / "certificates"

    @property
    def configuration(self) -> Path:
        """The components' own configuration files and kubeconfigs."""
        return self.folder / "etc"

    @property
    def logs(self) -> Path:
        """One file for each component."""
        return self.folder / "log"

    @property
    def data(self) -> Path:
        """What the components keep: etcd's data, containers, pods."""
        return self.folder / "data"

    @property
    def loaded(self) -> Path:
        """Files that say which archive of an image the cluster has."""
        return self.folder / "loaded"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.folder / "containerd.sock"
