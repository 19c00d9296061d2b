"""From values to the pods of steps: what the operator makes of the chart's settings."""

from typing import Any

import pytest
from tests.chart.kit.rendering import Json, Rendered, render
from tests.chart.kit.restricted import has_token, violations

from xaas_core.engine.plan import Step, TaskPlan
from xaas_core.engine.states import Side
from xaas_core.ports import LaunchOrder
from xaas_kube.jobs import job
from xaas_kube.run_index import known_run
from xaas_operator.settings import Settings

UID = "8b3c5f0e-0d8a-4c58-9a3c-0a5a4e1d7f10"


def job_of(done: Rendered, **task: Any) -> Json:
    """The Job that the operator makes for a task of two steps."""
    plan = TaskPlan("a", "a-task", steps=(Step("pass"), Step("pass")), **task)
    order = LaunchOrder(UID, "team-a", "a", Side.DO, 1, 1, (0, 1), plan, "a-token")
    run = known_run(
        {
            "metadata": {
                "name": "one",
                "namespace": "team-a",
                "uid": UID,
                "resourceVersion": "1",
                "generation": 1,
                "creationTimestamp": "2026-01-02T03:04:05Z",
            },
            "spec": {"name": "p", "parameters": {}},
        }
    )
    settings = Settings.model_validate(done.config()).runner.of_jobs()
    return job(order, run, settings, "http://192.0.2.1:8082")


@pytest.mark.parametrize("resources", [{}, {"limits": {"memory": "1Gi"}}])
def test_a_step_is_as_restricted_as_the_rest(default: Rendered, resources: Json) -> None:
    pod = job_of(default, resources=resources)["spec"]["template"]["spec"]
    # Requests are the first step's; the others' are nothing, in so many words.
    unrequested = [each for each in violations(pod) if not each.endswith(": requests")]
    assert unrequested == []
    assert len(pod["containers"]) == 2
    assert not any(has_token(each) for each in pod["containers"])


def test_policies_are_for_the_pods_that_jobs_make(default: Rendered) -> None:
    labels = job_of(default)["spec"]["template"]["metadata"]["labels"]
    policies = {each["metadata"]["name"]: each["spec"] for each in default.of("NetworkPolicy")}
    steps = policies["xaas-pipeline-steps"]["podSelector"]["matchLabels"]
    assert steps.items() <= labels.items()
    (peer,) = policies["xaas-pipeline-operator"]["ingress"][0]["from"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()


def test_users_labels_never_take_a_step_out_of_its_policy() -> None:
    done = render({"runner": {"labels": {"app.kubernetes.io/component": "mine", "team": "net"}}})
    labels = job_of(done)["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == "step"
    assert labels["team"] == "net"


def test_values_of_runners_are_those_of_pods() -> None:
    runner: Json = {
        "image": {"repository": "registry.example/runner", "tag": "9", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "nodeSelector": {"pool": "scripts"},
        "tolerations": [{"key": "scripts", "operator": "Exists"}],
        "priorityClassName": "low",
        "runtimeClassName": "gvisor",
        "annotations": {"note": "n"},
    }
    template = job_of(render({"runner": runner}))["spec"]["template"]
    pod, first = template["spec"], template["spec"]["containers"][0]
    same = ("imagePullSecrets", "nodeSelector", "tolerations", "priorityClassName")
    assert {key: pod[key] for key in same} == {key: runner[key] for key in same}
    assert pod["runtimeClassName"] == "gvisor"
    assert template["metadata"]["annotations"]["note"] == "n"
    assert (first["image"], first["imagePullPolicy"]) == ("registry.example/runner:9", "Always")
    assert first["resources"] == runner["resources"]
