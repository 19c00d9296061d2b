"""The product in the test cluster: its chart, installed by helm."""

import json
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.cluster import helm_command, places
from tests.cluster.kubectl import program
from tests.cluster.steps import ClusterFailure, locked, run, step
from tests.cluster.up import found

CHART: Final = places.ROOT / "charts" / "xaas-pipeline"
RELEASE: Final = "xaas-pipeline"
NAMESPACE: Final = "xaas-system"

WITHIN: Final = "3m"
"""How long operator and API may take to be ready, on a machine that is busy otherwise."""

Json = dict[str, Any]


@cache
def access() -> Path:
    """The kubeconfig of the cluster that is up. Raises ClusterFailure if none is."""
    kubeconfig = found()
    if kubeconfig is None:
        raise ClusterFailure("There is no cluster: make cluster-up first.")
    return kubeconfig


@cache
def helm_program() -> Path:
    """helm, built if the machine has none. Raises ClusterFailure."""
    with locked("helm"):
        return helm_command.found()


def kubectl(*words: str, given: Json | None = None) -> str:
    """What kubectl says to `words`, and to an object on its standard input. Raises ClusterFailure."""
    text = None if given is None else json.dumps(given)
    return run([program("kubectl"), f"--kubeconfig={access()}", *words], given=text)


def helm(*words: str, values: Json | None = None) -> str:
    """What helm says, in the namespace of the release. Raises ClusterFailure."""
    where = (f"--kubeconfig={access()}", f"--namespace={NAMESPACE}")
    options = () if values is None else ("--values=-",)
    text = None if values is None else json.dumps(values)
    return run([helm_program(), *words, *where, *options], given=text)


def image_values(service: str, runner: str) -> Json:
    """The values by which these images run, and pods are replaced when others come by the names."""
    loaded = places.State.here().loaded
    told = {
        name: file.read_text()
        for name in (service, runner)
        if (file := loaded / name.replace("/", "-")).is_file()
    }
    made_of = {"xaas.dev/images": " ".join(told.values())} if told else {}
    repository, _, tag = service.rpartition(":")
    runner_repository, _, runner_tag = runner.rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag},
        "operator": {"podAnnotations": made_of},
        "api": {"podAnnotations": made_of},
        "runner": {"image": {"repository": runner_repository, "tag": runner_tag}},
    }


def install(*values: Json) -> None:
    """Install the chart, or bring it up to date; later `values` win.

    Returns when operator and API are ready. Raises ClusterFailure.
    """
    merged: Json = {}
    for each in values:
        merged = _merged(merged, each)
    with step(f"Installing {CHART.relative_to(places.ROOT)} into {NAMESPACE}"):
        # take-ownership: the kinds may be there from crds/, applied without helm.
        words = ("upgrade", RELEASE, str(CHART), "--install", "--create-namespace")
        try:
            helm(*words, "--take-ownership", "--wait", f"--timeout={WITHIN}", values=merged)
        except ClusterFailure as failure:
            raise ClusterFailure(f"{failure}\n{_pods()}") from None


def _pods() -> str:
    """How the pods of the release are, and what they said last: helm says only that it waited."""
    where = (f"--namespace={NAMESPACE}", f"--selector=app.kubernetes.io/instance={RELEASE}")
    told = [kubectl("get", "pods", *where)]
    with suppress(ClusterFailure):  # a container that never started has no log
        told.append(kubectl("logs", *where, "--all-containers", "--prefix", "--tail=5"))
    return "\n".join(told)


def uninstall() -> None:
    """Remove the release; the kinds stay. Raises ClusterFailure."""
    with step(f"Uninstalling {RELEASE} from {NAMESPACE}"):
        helm("uninstall", RELEASE, "--ignore-not-found", "--wait", f"--timeout={WITHIN}")


def _merged(one: Json, two: Json) -> Json:
    both = {**one, **two}
    for key in one.keys() & two.keys():
        if isinstance(one[key], dict) and isinstance(two[key], dict):
            both[key] = _merged(one[key], two[key])
    return both
