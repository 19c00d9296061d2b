"""The test cluster is what its README says: a node that runs hardened Jobs, and leaves nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cluster import cgroups, images, places, settings
from tests.cluster.kubectl import Kubectl
from tests.cluster.steps import locked

STATE = places.State.here()

Json = dict[str, Any]


def make(program: str) -> None:
    """Call `make cluster-up` or `make cluster-down`, less make."""
    command = [sys.executable, "-m", f"tests.cluster.{program}"]
    done = subprocess.run(command, cwd=places.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_node_is_ready_for_pods(kubectl: Kubectl) -> None:
    nodes = kubectl.get("nodes")["items"]
    conditions = [one for each in nodes for one in each["status"]["conditions"]]
    assert "True" in [one["status"] for one in conditions if one["type"] == "Ready"]
    assert [each for each in nodes if not each["spec"].get("taints")]


def container(name: str, script: str) -> Json:
    """A container as the product's steps are to run."""
    return {
        "name": name,
        "image": images.BASE_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", script],
        "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }


def job(*containers: Json) -> Json:
    """A Job as the product is to make."""
    pod = {
        "automountServiceAccountToken": False,
        "containers": list(containers),
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": {
            "runAsGroup": 65534,
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "hardened"},
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {"spec": pod},
        },
    }


PROBE = """
import os
try:
    open("/written", "w")
except OSError as error:
    print(error.strerror)
print(os.getuid(), os.path.exists("/var/run/secrets"))
"""


@pytest.mark.slow
@pytest.mark.skipif(
    "XAAS_TEST_KUBECONFIG" in os.environ,
    reason="no image can be loaded into a cluster of one's own",
)
def test_a_hardened_job_runs_to_completion(kubectl: Kubectl, namespace: str) -> None:
    with locked("images"):
        images.load(images.base())
    here = f"--namespace={namespace}"
    kubectl("apply", here, "--filename=-", given=job(container("a", PROBE), container("b", PROBE)))
    kubectl("wait", here, "--for=condition=Complete", "job/hardened", "--timeout=60s")
    for name in ("a", "b"):
        said = kubectl("logs", here, "job/hardened", f"--container={name}")
        assert said == "Read-only file system\n65534 False\n"


def test_a_pod_that_is_not_hardened_is_refused(kubectl: Kubectl, namespace: str) -> None:
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        kubectl(f"--namespace={namespace}", "run", "soft", "--image=localhost/none:1")


def definition(group: str) -> Json:
    """The smallest definition of a custom resource, with a rule to break."""
    size = {"type": "integer"}
    rule = {"rule": "self.size > 0", "message": "size must be positive"}
    spec = {"type": "object", "properties": {"size": size}, "x-kubernetes-validations": [rule]}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": "Thing", "plural": "things"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def test_custom_resources_are_kept_and_checked(kubectl: Kubectl, namespace: str) -> None:
    group = f"{namespace}.example"
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}}
    here = f"--namespace={namespace}"
    kubectl("apply", "--filename=-", given=definition(group))
    try:
        kubectl("wait", "--for=condition=Established", f"crd/things.{group}", "--timeout=30s")
        kubectl("create", here, "--filename=-", given={**thing, "spec": {"size": 1}})
        assert kubectl.get(here, f"things.{group}", "one")["spec"] == {"size": 1}
        with pytest.raises(AssertionError, match="size must be positive"):
            kubectl("apply", here, "--filename=-", given={**thing, "spec": {"size": 0}})
    finally:
        kubectl("delete", "crd", f"things.{group}", "--wait=false")


def leavings() -> dict[str, set[str]]:
    """What a cluster could leave on the machine."""
    links = json.loads(subprocess.check_output(["ip", "-json", "link"]))
    routes = json.loads(subprocess.check_output(["ip", "-json", "route"]))
    mounts = Path("/proc/self/mountinfo").read_text()
    processes = Path("/proc").glob("[0-9]*")
    folders = [Path("/var/lib"), Path("/var/log"), Path("/run")]
    return {
        "mounts": {line.split()[4] for line in mounts.splitlines()},
        "links": {link["ifname"] for link in links},
        "routes": {route["dst"] for route in routes},
        "cgroups": {str(folder) for folder in cgroups.folders()},
        "processes": {name for each in processes if (name := component(each))},
        "network namespaces": {str(file) for file in Path("/run/netns").glob("*")},
        "folders": {str(file) for folder in folders for file in folder.iterdir()},
    }


def component(process: Path) -> str:
    """The name of a process that belongs to a cluster; empty for all others."""
    try:
        line = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return ""  # it has ended meanwhile
    names = [*settings.commands(STATE), "containerd-shim", "catatonit", str(STATE.folder)]
    return line if any(name in line for name in names) else ""


@pytest.mark.slow
def test_a_cluster_leaves_nothing_behind(kubectl: Kubectl, disposable_cluster: None) -> None:
    make("down")
    before = leavings()
    for _ in range(2):
        make("up")
        assert kubectl.get("nodes")["items"]
        make("up")  # changes nothing
        during = leavings()
        make("down")
        make("down")
        assert leavings() == before
    assert all(during[kind] > before[kind] for kind in ("links", "routes", "cgroups", "processes"))
