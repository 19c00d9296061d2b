"""What a pod must be to be admitted where restricted Pod Security is enforced, and a little more.

The first half is the standard's (kubernetes.io, "Pod Security Standards", restricted), written down
here once more, so that it is checked without a cluster; the second is the project's own.
"""

from collections.abc import Iterator
from typing import Any, Final

from tests.chart.kit.rendering import containers

Json = dict[str, Any]

VOLUMES: Final = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim",
    "projected", "secret",
}  # fmt: skip
TOKEN_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


def violations(pod: Json) -> list[str]:
    """What is wrong with a pod's spec; nothing if it is as it must be."""
    return [*_of_pod(pod), *(each for one in containers(pod) for each in _of_container(pod, one))]


def _of_pod(pod: Json) -> Iterator[str]:
    for shared in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(shared):
            yield shared
    for volume in pod.get("volumes", ()):
        if not (volume.keys() - {"name"}) <= VOLUMES:
            yield f"volume {volume['name']}"
    if pod.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken"


def _of_container(pod: Json, container: Json) -> Iterator[str]:
    name, own = container["name"], container.get("securityContext", {})
    whole = pod.get("securityContext", {})
    capabilities = own.get("capabilities", {})
    if own.get("privileged"):
        yield f"{name}: privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation"
    if "ALL" not in capabilities.get("drop", ()):
        yield f"{name}: capabilities.drop"
    if set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield f"{name}: capabilities.add"
    if own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True:
        yield f"{name}: runAsNonRoot"
    if own.get("runAsUser", whole.get("runAsUser")) == 0:
        yield f"{name}: runAsUser"
    profile = own.get("seccompProfile", whole.get("seccompProfile", {}))
    if profile.get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{name}: seccompProfile"
    if any(port.get("hostPort") for port in container.get("ports", ())):
        yield f"{name}: hostPort"
    # The project's own: nothing to write but in volumes, and bounded.
    if own.get("readOnlyRootFilesystem") is not True:
        yield f"{name}: readOnlyRootFilesystem"
    if "memory" not in container.get("resources", {}).get("limits", {}):
        yield f"{name}: limits.memory"
    if not {"cpu", "memory"} <= container.get("resources", {}).get("requests", {}).keys():
        yield f"{name}: requests"


def has_token(container: Json) -> bool:
    """Whether a container can read the account's token."""
    mounts = container.get("volumeMounts", ())
    return any(TOKEN_FOLDER.startswith(mount["mountPath"]) for mount in mounts)
