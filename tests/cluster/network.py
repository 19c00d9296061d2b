"""The node's network: a pair of links to the machine, routes, and nothing that leads further.

In the node's network namespace the default route is a black hole: what runs in a pod reaches pods,
services and the machine's end of the pair, and no other network, whatever the machine is attached
to. The machine reaches pods and services by routes over the pair.
"""

import json
from pathlib import Path
from typing import Final

from tests.cluster import namespaces, places
from tests.cluster.steps import ClusterFailure, run

CNI_VERSION: Final = "1.0.0"
SETTINGS: Final = {
    "net.ipv4.ip_forward": "1",  # pods' packets pass through the node
    # So that a pod's call to a service that another pod on the same bridge answers finds its way
    # back through the address translation. Only there with the module br_netfilter.
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.ipv6.conf.all.disable_ipv6": "1",
}


def _is_linked() -> bool:
    return any(link["ifname"] == places.HOST_LINK for link in json.loads(run(["ip", "-j", "link"])))


def refuse_taken() -> None:
    """Raise ClusterFailure if the machine has such a link or such routes already.

    Asked before anything is made: a tear-down may then take all of these names for its own.
    """
    if _is_linked():
        raise ClusterFailure(
            f"The link {places.HOST_LINK} is there already: a cluster runs with its state in another "
            f"folder. Use that one (XAAS_CLUSTER_DIR), or end it first."
        )
    for target in (places.POD_RANGE, places.SERVICE_RANGE, places.LINK_RANGE):
        if taken := run(["ip", "route", "show", "to", "root", target]).strip():
            raise ClusterFailure(f"This machine has a route into {target} of its own: {taken}")


def make(state: places.State) -> None:
    """Connect the node's network namespace with the machine. Raises ClusterFailure."""
    _connect(state)
    _set_up_node(state)
    for target in (places.POD_RANGE, places.SERVICE_RANGE):
        run(["ip", "route", "add", target, "via", places.NODE_ADDRESS, "dev", places.HOST_LINK])


def _connect(state: places.State) -> None:
    inner = namespaces.entering(state)[1].partition("=")[2]
    peer = ["peer", "name", places.NODE_LINK, "netns", inner]
    run(["ip", "link", "add", places.HOST_LINK, "type", "veth", *peer])
    address = f"{places.HOST_ADDRESS}/{places.LINK_PREFIX}"
    run(["ip", "address", "add", address, "dev", places.HOST_LINK])
    run(["ip", "link", "set", places.HOST_LINK, "up"])


def _set_up_node(state: places.State) -> None:
    commands = [
        "link set lo up",
        f"address add {places.NODE_ADDRESS}/{places.LINK_PREFIX} dev {places.NODE_LINK}",
        f"link set {places.NODE_LINK} up",
        "route add blackhole default",
        # Never used: kube-proxy rewrites the destination before. But without a route a connection
        # to a service fails with EINVAL before that, and `src` gives it the node's address.
        f"route add {places.SERVICE_RANGE} dev {places.NODE_LINK} src {places.NODE_ADDRESS}",
    ]
    for command in commands:
        namespaces.inside(state, ["ip", *command.split()])
    for name, value in SETTINGS.items():
        file = Path("/proc/sys") / name.replace(".", "/")
        if file.exists():
            namespaces.inside(state, ["sh", "-c", f"echo {value} > {file}"])


def pods_network() -> str:
    """The configuration of the pods' network: a bridge, addresses from one range, no masquerade."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": places.POD_RANGE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,  # a pod may call itself by its service
        "ipam": ipam,
    }
    return json.dumps({"cniVersion": CNI_VERSION, "name": "pods", "plugins": [bridge]}, indent=2)


def remove() -> None:
    """Take the machine's end away, unless the namespace's end has taken it along already."""
    if _is_linked():
        try:
            run(["ip", "link", "delete", places.HOST_LINK])  # its routes go with it
        except ClusterFailure:
            if _is_linked():  # else the kernel was quicker
                raise
