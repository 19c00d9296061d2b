"""A real API server takes what the chart renders, where only restricted pods are admitted.

Nothing of it stays: all but a namespace and its accounts is a dry run.
"""

import json
import subprocess
import uuid
from collections.abc import Callable, Iterator

import pytest
from tests.chart.conftest import ALL_ON
from tests.chart.kit.rendering import Json, Rendered, render
from tests.cluster.kubectl import Kubectl

Say = Callable[..., subprocess.CompletedProcess[str]]

# The cluster has no such kind: the Prometheus Operator brings it.
UNKNOWN = {"ServiceMonitor"}


@pytest.fixture(scope="module")
def say(kubectl: Kubectl) -> Say:
    """Runs kubectl with objects on its standard input; an error is an answer, too."""
    command = [str(kubectl.program), f"--kubeconfig={kubectl.kubeconfig}"]

    def run(*words: str, given: list[Json] | None = None) -> subprocess.CompletedProcess[str]:
        listed = {"apiVersion": "v1", "kind": "List", "items": given or []}
        return subprocess.run(
            [*command, *words],
            input=json.dumps(listed),
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def namespace(say: Say) -> Iterator[str]:
    """A namespace of its own, which admits restricted pods only, and says so of what makes pods."""
    name = f"chart-{uuid.uuid4().hex[:8]}"
    mode = {f"pod-security.kubernetes.io/{each}": "restricted" for each in ("enforce", "warn")}
    content = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": mode}}
    say("create", "--filename=-", given=[content]).check_returncode()
    yield name
    say("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module", params=["default", "all on"])
def chart(request: pytest.FixtureRequest, namespace: str, say: Say) -> Rendered:
    """The chart in that namespace, whose accounts are there: pods are refused without."""
    values: Json = {**(ALL_ON if request.param == "all on" else {})}
    values["api"] = {**values.get("api", {}), "namespace": namespace}
    values["networkPolicy"] = {"steps": {"namespaces": []}}
    done = render(values, namespace=namespace)
    applied = say("apply", "--server-side", "--filename=-", given=done.of("ServiceAccount"))
    applied.check_returncode()
    return done


def dry_run(say: Say, objects: list[Json]) -> None:
    """Expect that the API server would take all of them, and has nothing to say about any."""
    words = ("--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict")
    said = say("apply", *words, "--filename=-", given=objects)
    assert said.returncode == 0, said.stderr
    assert said.stderr == ""
    assert len(said.stdout.splitlines()) == len(objects)


def test_every_object_is_taken_as_it_is(chart: Rendered, say: Say) -> None:
    dry_run(say, [each for each in chart.objects if each["kind"] not in UNKNOWN])


def test_every_pod_is_admitted(chart: Rendered, say: Say) -> None:
    pods: list[Json] = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{number}", "namespace": chart.namespace},
            "spec": spec,
        }
        for number, (_, spec) in enumerate(chart.pods())
    ]
    assert len(pods) == 4
    for pod in pods:
        # Written where the pod is made of a template: neither exists here.
        pod["spec"].pop("priorityClassName", None)
    dry_run(say, pods)


def test_a_softer_pod_would_not_be(chart: Rendered, say: Say, namespace: str) -> None:
    spec = dict(chart.pods())["Pod xaas-pipeline-test"]
    soft = {**spec, "securityContext": {}}
    metadata = {"name": "soft", "namespace": namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": soft}
    said = say("apply", "--server-side", "--dry-run=server", "--filename=-", given=[pod])
    assert "violates PodSecurity" in said.stderr
