"""What the chart's accounts and its users may do: what they need, in as small a place as can be."""

from collections.abc import Iterator

import pytest
from tests.chart.kit.rendering import Json, Rendered
from tests.simulation.golden import GOLDEN
from tests.simulation.kubernetes import kube_golden, kube_scenarios

OURS = {"pipelines", "pipelinetasks", "pipelineruns", "pipelinetaskruns"}

# With these somebody could get rights that he hasn't, or into other pods. None of ours needs one.
DANGEROUS = {
    "clusterroles", "clusterrolebindings", "roles", "rolebindings", "serviceaccounts",
    "serviceaccounts/token", "pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers",
    "nodes", "nodes/proxy", "customresourcedefinitions", "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations", "certificatesigningrequests", "daemonsets", "statefulsets",
}  # fmt: skip


BESIDE_RUNS = {
    # readiness.py, kopf, and the plans of runs
    ("pipelines", "get"), ("pipelinetasks", "get"), ("pipelines", "list"), ("pipelinetasks", "list"),
    ("pipelines", "watch"), ("pipelinetasks", "watch"),
    ("pipelines/status", "patch"), ("pipelinetasks/status", "patch"),
    # children.py: a script makes a run, and reads its logs
    ("pipelineruns", "create"), ("pods/log", "get"),
    # events.py; and why a pod doesn't start
    ("events", "create"), ("events", "list"),
    # replica.py: what it finds at home when it starts
    ("secrets", "get"), ("secrets", "create"), ("deployments", "get"), ("services", "get"),
}  # fmt: skip
"""What the operator asks for beside running runs, and so not in the simulation."""


def grants(role: Json) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Each resource, verb and names that a role grants."""
    for rule in role["rules"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield resource, verb, tuple(rule.get("resourceNames", ()))


def test_nothing_is_granted_by_a_wildcard(rendered: Rendered) -> None:
    for role in rendered.of("ClusterRole", "Role"):
        for rule in role["rules"]:
            assert "nonResourceURLs" not in rule
            assert all("*" not in rule[part] for part in ("apiGroups", "resources", "verbs"))


def test_no_right_opens_others(rendered: Rendered) -> None:
    for role in rendered.of("ClusterRole", "Role"):
        for resource, verb, _ in grants(role):
            assert resource not in DANGEROUS
            assert verb not in ("escalate", "bind", "impersonate")
            assert (resource, verb) != ("pods", "create")


@pytest.mark.simulation
def test_the_operator_may_do_what_it_does_and_nothing_else(default: Rendered) -> None:
    """Compared with what it asks for in all golden runs, and under faults."""
    used: set[tuple[str, str]] = set()
    plays = [kube_golden.play(name) for name in GOLDEN]
    plays += [kube_scenarios.play(seed) for seed in range(40)]
    for each in plays:
        used |= {(resource, verb) for verb, resource in each.server.asked}
    roles = [
        default.one("ClusterRole", "xaas-system:xaas-pipeline-operator"),
        default.one("Role", "xaas-pipeline-operator"),
    ]
    granted = {(resource, verb) for role in roles for resource, verb, _ in grants(role)}
    assert used - granted == set(), "asked for, and not granted"
    assert granted - used - BESIDE_RUNS == set(), "granted, and not used"


def test_secrets_are_touched_in_the_releases_namespace_only(rendered: Rendered) -> None:
    found = [
        (role["kind"], role["metadata"].get("namespace"), role["metadata"]["name"], verb, names)
        for role in rendered.of("ClusterRole", "Role")
        for resource, verb, names in grants(role)
        if resource == "secrets"
    ]
    where = ("Role", "xaas-system", "xaas-pipeline-operator")
    key = rendered.config()["gateway"]["keySecret"]
    assert found == [(*where, "create", ()), (*where, "get", (key,))]


def test_named_rights_are_on_what_the_settings_name(default: Rendered) -> None:
    config = default.config()
    named = {
        resource: names
        for resource, _, names in grants(default.one("Role", "xaas-pipeline-operator"))
        if names
    }
    assert named == {
        "leases": (config["lease"],),
        "secrets": (config["gateway"]["keySecret"],),
        "services": (config["gateway"]["service"],),
        "deployments": ("xaas-pipeline-operator",),
    }
    assert config["gateway"]["service"] in default.names("Service")


def test_only_what_the_release_needs_at_home_is_bound_there(rendered: Rendered) -> None:
    for each in rendered.of("Role", "RoleBinding"):
        assert each["metadata"]["namespace"] == "xaas-system"


def test_each_binding_joins_a_role_and_an_account_that_are_there(rendered: Rendered) -> None:
    for binding in rendered.of("ClusterRoleBinding", "RoleBinding"):
        role = binding["roleRef"]
        assert role["name"] in rendered.names(role["kind"])
        (subject,) = binding["subjects"]
        assert subject["name"] in rendered.names("ServiceAccount")
        assert subject["namespace"] == "xaas-system"
    used = {pod["serviceAccountName"] for _, pod in rendered.pods()}
    assert used == rendered.names("ServiceAccount")


def test_a_role_of_everywhere_is_bound_to_its_own_account_only(rendered: Rendered) -> None:
    bound = {each["roleRef"]["name"]: each for each in rendered.of("ClusterRoleBinding")}
    roles = rendered.names("ClusterRole")
    assert roles == {*bound, "xaas-view", "xaas-edit"}
    for name, binding in bound.items():
        assert name == f"xaas-system:{binding['subjects'][0]['name']}"


@pytest.mark.parametrize(
    ("name", "resources", "verbs"),
    [
        ("view", OURS, {"get", "list", "watch"}),
        ("edit", OURS - {"pipelinetaskruns"},
         {"create", "update", "patch", "delete", "deletecollection"}),
    ],
)  # fmt: skip
def test_users_have_the_kinds_by_the_clusters_own_roles(
    rendered: Rendered, name: str, resources: set[str], verbs: set[str]
) -> None:
    role = rendered.one("ClusterRole", f"xaas-{name}")
    assert role["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{name}"] == "true"
    granted = {(resource, verb) for resource, verb, _ in grants(role)}
    # No status and no task run: those are the product's word on what is so.
    assert granted == {(resource, verb) for resource in resources for verb in verbs}


def test_helm_test_may_do_no_more_than_a_user(rendered: Rendered) -> None:
    users = {
        (resource, verb)
        for name in ("xaas-view", "xaas-edit")
        for resource, verb, _ in grants(rendered.one("ClusterRole", name))
    }
    role = rendered.one("Role", "xaas-pipeline-test")
    assert {(resource, verb) for resource, verb, _ in grants(role)} <= users
