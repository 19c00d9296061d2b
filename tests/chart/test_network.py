"""Who may connect to whom: the policies, against the labels and ports of what they are for."""

from tests.chart.kit.rendering import Json, Rendered, render

STEP = {"app.kubernetes.io/managed-by": "xaas-pipeline", "app.kubernetes.io/component": "step"}


def policy(done: Rendered, name: str, namespace: str = "xaas-system") -> Json:
    """The spec of the policy of a component in a namespace."""
    (found,) = [
        each["spec"]
        for each in done.of("NetworkPolicy")
        if each["metadata"]["name"] == f"xaas-pipeline-{name}"
        and each["metadata"]["namespace"] == namespace
    ]
    assert isinstance(found, dict)
    return found


def labels(done: Rendered, name: str) -> Json:
    """The labels of a component's pods."""
    deployment = done.one("Deployment", f"xaas-pipeline-{name}")
    found = deployment["spec"]["template"]["metadata"]["labels"]
    assert isinstance(found, dict)
    return found


def test_policies_select_the_pods_they_are_for(default: Rendered) -> None:
    for name in ("operator", "api"):
        selected = policy(default, name)["podSelector"]["matchLabels"]
        assert selected.items() <= labels(default, name).items()
        assert not selected.items() <= STEP.items()
    assert policy(default, "steps")["podSelector"]["matchLabels"] == STEP


def test_steps_reach_the_gateway_from_every_namespace_and_nobody_else_does(
    default: Rendered,
) -> None:
    gateway, probes = policy(default, "operator")["ingress"]
    everywhere: Json = {"namespaceSelector": {}, "podSelector": {"matchLabels": STEP}}
    assert gateway == {"ports": [{"port": "gateway"}], "from": [everywhere]}
    assert probes == {"ports": [{"port": "probes"}]}


def test_nobody_connects_to_a_step(default: Rendered) -> None:
    spec = policy(default, "steps")
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == []


def test_a_step_reaches_gateway_and_names_whatever_else_is_forbidden() -> None:
    done = render({"networkPolicy": {"steps": {"egress": []}}})
    gateway, names = policy(done, "steps")["egress"]
    (to,) = gateway["to"]
    assert to["podSelector"]["matchLabels"].items() <= labels(done, "operator").items()
    assert to["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "xaas-system"}
    ports = done.one("Deployment", "xaas-pipeline-operator")["spec"]["template"]["spec"][
        "containers"
    ][0]["ports"]
    assert gateway["ports"] == [
        {"port": each["containerPort"]} for each in ports if each["name"] == "gateway"
    ]
    assert names == {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def test_by_default_a_step_reaches_everything(default: Rendered) -> None:
    assert policy(default, "steps")["egress"][-1] == {}


def test_a_namespace_with_runs_gets_a_policy_once() -> None:
    names = ["default", "team-a"]
    done = render({"networkPolicy": {"steps": {"namespaces": names}}})
    found = [
        each["metadata"]["namespace"]
        for each in done.of("NetworkPolicy")
        if each["metadata"]["name"] == "xaas-pipeline-steps"
    ]
    assert found == ["xaas-system", "default", "team-a"]


def test_the_api_and_the_probes_can_be_for_some_only() -> None:
    peer: Json = {"namespaceSelector": {"matchLabels": {"team": "ingress"}}}
    values = {"api": {"clients": [peer]}, "operator": {"probes": [peer]}}
    done = render({"networkPolicy": values})
    (api,) = policy(done, "api")["ingress"]
    tests = done.one("Pod", "xaas-pipeline-test")["metadata"]["labels"]
    *peers, test = api["from"]
    assert (api["ports"], peers) == ([{"port": "http"}], [peer])
    assert test["podSelector"]["matchLabels"].items() <= tests.items()
    assert policy(done, "operator")["ingress"][1]["from"] == [peer]


def test_there_can_be_none() -> None:
    assert render({"networkPolicy": {"enabled": False}}).of("NetworkPolicy") == []
    done = render({"networkPolicy": {"steps": {"enabled": False}}})
    assert done.names("NetworkPolicy") == {"xaas-pipeline-operator", "xaas-pipeline-api"}
