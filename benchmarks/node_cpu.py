"""Who uses the CPU of the node: of the test cluster that was built here, whose processes are ours to see.

Runners come and go: theirs is what all pods have used, but for the product's own.
"""

import os
from collections import Counter
from pathlib import Path

PODS = (
    Path("/sys/fs/cgroup/cpuacct/xaas-test-cluster/kubepods/cpuacct.usage"),
    Path("/sys/fs/cgroup/xaas-test-cluster/kubepods/cpu.stat"),
)
"""Where the kernel counts what all pods have used: with version 1 of cgroups, and with version 2."""

PARTS = {
    "kube-apiserver": "API server",
    "etcd": "etcd",
    "kubelet": "kubelet",
    "containerd": "container runtime",
    "containerd-shim": "container runtime",
    "runc": "container runtime",
    "kube-controller-manager": "other controllers",
    "kube-scheduler": "other controllers",
}
"""Names of processes, and what they are a part of."""

OURS = {"xaas_operator": "operator", "xaas_api": "API", "evaluate": "evaluators"}
"""Words in the command lines of the product's own pods."""


def used() -> Counter[str]:
    """Seconds of CPU until now, by part of the cluster; empty if it isn't one that we can see."""
    pods = _pods()
    found: Counter[str] = Counter()
    if pods is None:
        return found
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            seconds = _seconds((folder / "stat").read_text())
        except OSError:
            continue  # it has ended
        name = Path(arguments[0]).name
        part = next((p for word, p in PARTS.items() if name.startswith(word)), None)
        if name.startswith("python"):
            part = next((p for word, p in OURS.items() if any(word in a for a in arguments)), None)
        if part is not None:
            found[part] += seconds  # type: ignore[assignment]
    found["runners"] = pods - sum(found[part] for part in OURS.values())  # type: ignore[assignment]
    return found


def _pods() -> float | None:
    for place in PODS:
        if place.exists():
            text = place.read_text()
            fields = dict(line.split() for line in text.splitlines()) if "\n" in text[:-1] else {}
            return int(fields["usage_usec"]) / 1e6 if fields else int(text) / 1e9
    return None


def _seconds(stat: str) -> float:
    fields = stat.rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
