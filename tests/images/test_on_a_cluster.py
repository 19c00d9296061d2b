"""The images in pods as the product makes them: restricted, and with a root nobody can write to."""

import json
from typing import Any

import pytest
from tests.cluster.fixtures import Images
from tests.cluster.kubectl import Kubectl

from xaas_runner.contract import PROTOCOL

pytestmark = pytest.mark.slow

Json = dict[str, Any]

HARDENED: Json = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
SHARED = "/run/xaas"

LAYERS = {"limits", "itself", "files", "calls"}

CONVERSATION = """
import json, socket, time
client = socket.socket(socket.AF_UNIX)
for _ in range(200):
    try:
        client.connect("/run/xaas/evaluator.sock")
        break
    except OSError:
        time.sleep(0.1)
print(client.makefile().readline())
"""

LOOK = """
import importlib.metadata, json, os, sys
import fastapi, kopf, kubernetes.aio, uvloop, xaas_api, xaas_core, xaas_kube, xaas_operator
try:
    open("/app/written", "w")
except OSError as error:
    refused = error.strerror
print(json.dumps({
    "user": os.getuid(),
    "refused": refused,
    "version": importlib.metadata.version("xaas-pipeline"),
    "compiled": all(
        os.path.exists(module.__cached__) for name, module in sys.modules.items()
        if getattr(module, "__cached__", None) and (getattr(module, "__file__", None) or "").endswith(".py")
    ),
    "here": "" in sys.path or os.getcwd() in sys.path,
}))
"""


def container(name: str, image: str, *words: str) -> Json:
    """A container as operator and chart make them; `words` are the arguments."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": list(words),
        "securityContext": HARDENED,
        "volumeMounts": [{"name": "shared", "mountPath": SHARED}],
    }


def said(
    kubectl: Kubectl, namespace: str, *containers: Json, sidecars: tuple[Json, ...] = ()
) -> str:
    """Run a pod to its end; gives what the first of its containers printed."""
    here = f"--namespace={namespace}"
    spec = {
        "automountServiceAccountToken": False,
        "containers": list(containers),
        "enableServiceLinks": False,
        "initContainers": [{**each, "restartPolicy": "Always"} for each in sidecars],
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "shared", "emptyDir": {}}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
    kubectl("create", here, "--filename=-", given=pod)
    kubectl("wait", here, "pod/one", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    return kubectl("logs", here, "pod/one", f"--container={containers[0]['name']}")


def test_the_runner_has_its_layers_in_a_pod(
    kubectl: Kubectl, namespace: str, images: Images
) -> None:
    told = json.loads(said(kubectl, namespace, container("step-0", images.runner, "layers")))
    assert told.keys() == LAYERS
    # Without these two no step starts; the others depend on the node's kernel.
    assert told["limits"].startswith("in force")
    assert told["calls"].startswith("in force")


def test_the_runner_is_the_evaluator_too(kubectl: Kubectl, namespace: str, images: Images) -> None:
    words = ("evaluate", "--socket", f"{SHARED}/evaluator.sock")
    evaluator = container("evaluator", images.runner, *words)
    asking = container("asking", images.service, "-c", CONVERSATION)
    answer = json.loads(said(kubectl, namespace, asking, sidecars=(evaluator,)))
    assert answer == {"event": "ready", "protocol": PROTOCOL}


def test_the_service_starts_without_compiling(
    kubectl: Kubectl, namespace: str, images: Images
) -> None:
    told = json.loads(said(kubectl, namespace, container("service", images.service, "-c", LOOK)))
    assert told["version"] != "0"
    assert told | {"version": ""} == {
        "user": 65532,
        "refused": "Read-only file system",
        "version": "",
        "compiled": True,
        "here": False,
    }
