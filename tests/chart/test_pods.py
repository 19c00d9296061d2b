"""Every pod is restricted, and what runs users' code has no token."""

import copy
from typing import Any

import pytest
from tests.chart.kit.rendering import Json, Rendered, containers, render
from tests.chart.kit.restricted import has_token, violations


def test_every_pod_is_restricted(rendered: Rendered) -> None:
    pods = list(rendered.pods())
    assert [name for name, _ in pods] == [
        "Deployment xaas-pipeline-api",
        "Deployment xaas-pipeline-operator",
        "Pod xaas-pipeline-test",
        "Job xaas-pipeline-uninstall",
    ]
    assert {name: violations(pod) for name, pod in pods if violations(pod)} == {}


LOOSER: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("hostNetwork", {"hostNetwork": True}, {}),
    ("hostPID", {"hostPID": True}, {}),
    ("automountServiceAccountToken", {"automountServiceAccountToken": True}, {}),
    ("volume host", {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}, {}),
    ("operator: seccompProfile", {"securityContext": {"runAsNonRoot": True}}, {}),
    ("operator: limits.memory", {}, {"resources": {"requests": {"cpu": 1, "memory": 1}}}),
    ("operator: requests", {}, {"resources": {"limits": {"memory": 1}}}),
    ("operator: hostPort", {}, {"ports": [{"containerPort": 1, "hostPort": 1}]}),
]
OWN: list[tuple[str, dict[str, Any]]] = [
    ("privileged", {"privileged": True}),
    ("allowPrivilegeEscalation", {"allowPrivilegeEscalation": None}),
    ("readOnlyRootFilesystem", {"readOnlyRootFilesystem": False}),
    ("capabilities.drop", {"capabilities": {"drop": ["NET_RAW"]}}),
    ("capabilities.add", {"capabilities": {"drop": ["ALL"], "add": ["SYS_ADMIN"]}}),
    ("runAsNonRoot", {"runAsNonRoot": False}),
    ("runAsUser", {"runAsUser": 0}),
    ("seccompProfile", {"seccompProfile": {"type": "Unconfined"}}),
]


@pytest.mark.parametrize(
    ("violation", "pod", "container"),
    [*LOOSER, *((f"operator: {name}", {}, {"securityContext": own}) for name, own in OWN)],
    ids=str,
)
def test_a_looser_pod_would_be_found(
    default: Rendered, violation: str, pod: Json, container: Json
) -> None:
    spec = copy.deepcopy(dict(default.pods())["Deployment xaas-pipeline-operator"])
    spec.update(pod)
    (own,) = spec["containers"]
    security = container.get("securityContext")
    own.update(container if security is None else {})
    own["securityContext"].update(security or {})
    assert violation in violations(spec)


def test_the_token_is_where_it_is_needed_only(rendered: Rendered) -> None:
    for name, pod in rendered.pods():
        tokens = {one["name"]: has_token(one) for one in containers(pod)}
        assert tokens.pop("evaluator", False) is False, name
        assert list(tokens.values()) == [True], name
    assert all(
        each["automountServiceAccountToken"] is False for each in rendered.of("ServiceAccount")
    )


def test_the_evaluator_runs_the_runner_image_before_and_after_the_others(default: Rendered) -> None:
    for name in ("operator", "api"):
        pod = dict(default.pods())[f"Deployment xaas-pipeline-{name}"]
        (evaluator,) = pod["initContainers"]
        assert evaluator["image"] == default.config()["runner"]["image"]
        assert evaluator["restartPolicy"] == "Always"
        assert "env" not in evaluator
        shared = {each["name"] for each in evaluator["volumeMounts"]}
        assert shared == {"run"}
        assert evaluator["args"][-1] in str(pod["containers"]) + str(default.config())


def test_without_a_user_the_cluster_assigns_one() -> None:
    for _, pod in render({"runAsUser": None}).pods():
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }


def test_the_hook_and_the_test_run_where_the_others_do() -> None:
    tolerations = [{"key": "dedicated", "operator": "Exists"}]
    placed = {"nodeSelector": {"pool": "infra"}, "tolerations": tolerations}
    done = render({"operator": placed, "api": placed})
    for _, pod in done.pods():
        assert pod["nodeSelector"] == {"pool": "infra"}
        assert pod["tolerations"] == tolerations
