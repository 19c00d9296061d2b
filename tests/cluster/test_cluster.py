"""The test cluster is what its README says: a node that runs hardened Jobs, and leaves nothing.

These tests need a running cluster (`make cluster-up`, or XAAS_TEST_KUBECONFIG) and kubectl.
"""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster import cgroups, images, node, places, settings

STATE = places.State.here()
OWN_CLUSTER = os.environ.get("XAAS_TEST_KUBECONFIG")
KUBECONFIG = Path(OWN_CLUSTER) if OWN_CLUSTER else STATE.kubeconfig
BUILT_HERE = not OWN_CLUSTER and node.is_up(STATE)
IN_STATE = STATE.binaries / "kubectl"
KUBECTL = str(IN_STATE) if IN_STATE.exists() else shutil.which("kubectl")


def what_is_missing() -> str:
    """Why these tests can't run, in one line; empty if they can."""
    if not KUBECONFIG.is_file():
        return f"no test cluster (make cluster-up): {KUBECONFIG} isn't there"
    if not OWN_CLUSTER and not BUILT_HERE and STATE.provider.read_text() == "modules\n":
        return f"no test cluster (make cluster-up): the one in {STATE.folder} doesn't answer"
    return "" if KUBECTL else "no kubectl to ask the test cluster with"


if MISSING := what_is_missing():
    pytest.skip(MISSING, allow_module_level=True)

Json = dict[str, Any]


def kubectl(*words: str, given: Json | None = None) -> str:
    """What kubectl says; an error is one of the test."""
    done = subprocess.run(
        [str(KUBECTL), f"--kubeconfig={KUBECONFIG}", *words],
        input=None if given is None else json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def get(*words: str) -> Any:
    """What `kubectl get` gives."""
    return json.loads(kubectl("get", *words, "--output=json"))


def make(program: str) -> None:
    """Call `make cluster-up` or `make cluster-down`, less make."""
    command = [sys.executable, "-m", f"tests.cluster.{program}"]
    done = subprocess.run(command, cwd=places.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace of its own, which admits restricted pods only."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": name, "labels": labels}
    content = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    kubectl("apply", "--filename=-", given=content)
    kubectl("wait", "--for=create", "serviceaccount/default", f"--namespace={name}")
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def test_a_node_is_ready_for_pods() -> None:
    nodes = get("nodes")["items"]
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
@pytest.mark.skipif(bool(OWN_CLUSTER), reason="images can't be loaded into a cluster of one's own")
def test_a_hardened_job_runs_to_completion(namespace: str) -> None:
    images.load(images.base())
    here = f"--namespace={namespace}"
    kubectl("apply", here, "--filename=-", given=job(container("a", PROBE), container("b", PROBE)))
    kubectl("wait", here, "--for=condition=Complete", "job/hardened", "--timeout=60s")
    for name in ("a", "b"):
        said = kubectl("logs", here, "job/hardened", f"--container={name}")
        assert said == "Read-only file system\n65534 False\n"


def test_a_pod_that_is_not_hardened_is_refused(namespace: str) -> None:
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


def test_custom_resources_are_kept_and_checked(namespace: str) -> None:
    group = f"{namespace}.example"
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing", "metadata": {"name": "one"}}
    here = f"--namespace={namespace}"
    kubectl("apply", "--filename=-", given=definition(group))
    try:
        kubectl("wait", "--for=condition=Established", f"crd/things.{group}", "--timeout=30s")
        kubectl("create", here, "--filename=-", given={**thing, "spec": {"size": 1}})
        assert get(here, f"things.{group}", "one")["spec"] == {"size": 1}
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
@pytest.mark.skipif(not BUILT_HERE, reason="the cluster wasn't built from Go modules")
def test_a_cluster_leaves_nothing_behind() -> None:
    make("down")
    before = leavings()
    for _ in range(2):
        make("up")
        assert get("nodes")["items"]
        make("up")  # changes nothing
        during = leavings()
        make("down")
        make("down")
        assert leavings() == before
    assert all(during[kind] > before[kind] for kind in ("links", "routes", "cgroups", "processes"))
    make("up")  # as it was found
