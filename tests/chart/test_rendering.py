"""The chart renders, what it renders belongs together, and each value has an effect."""

import json
import re
import tomllib
from functools import cache
from typing import Any

import pytest
from tests.chart.conftest import ALL_OFF, ALL_ON
from tests.chart.kit.rendering import (
    CHART,
    KUBERNETES,
    Json,
    Rendered,
    containers,
    default_values,
    leaves,
    nested,
    read,
    render,
    run,
)
from tests.cluster import places


@pytest.mark.parametrize("values", [{}, ALL_ON, ALL_OFF], ids=["default", "all on", "all off"])
def test_lint_has_nothing_to_say(values: Json) -> None:
    said = run("lint", "--strict", f"--kube-version={KUBERNETES}", str(CHART), values=values)
    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert "[WARNING]" not in said


def test_the_versions_are_the_products() -> None:
    (chart,) = read(CHART / "Chart.yaml")
    project = tomllib.loads((places.ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]


def test_the_images_that_the_readme_builds_are_those_it_runs(default: Rendered) -> None:
    text = (places.ROOT / "README.md").read_text()
    (loaded,) = re.findall(r"kind load docker-image (.*)", text)
    built = re.findall(r"docker build -t (\S+)", text)
    run = {one["image"] for _, pod in default.pods() for one in containers(pod)}
    assert run == set(built) == set(loaded.split())


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("xaas-pipeline", {}, "xaas-pipeline"),
        ("my-xaas-pipeline", {}, "my-xaas-pipeline"),
        ("one", {}, "one-xaas-pipeline"),
        ("one", {"nameOverride": "saga"}, "one-saga"),
        ("one", {"fullnameOverride": "two"}, "two"),
        ("x" * 53, {}, "x" * 50),
    ],
)
def test_names_follow_the_release(release: str, values: Json, name: str) -> None:
    done = render(values, release=release)
    assert done.names("Deployment") == {f"{name}-operator", f"{name}-api"}
    assert done.names("Service") == {f"{name}-gateway", f"{name}-api"}
    for each in done.objects:
        if each["kind"] != "CustomResourceDefinition" and "xaas-" not in each["metadata"]["name"]:
            assert name in each["metadata"]["name"]
            assert len(each["metadata"]["name"].rpartition(":")[2]) <= 63


def test_nothing_is_twice(rendered: Rendered) -> None:
    keys = [
        (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
        for each in rendered.objects
    ]
    assert len(keys) == len(set(keys))


def test_selectors_find_the_pods_they_are_for(rendered: Rendered) -> None:
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in rendered.of("Deployment")
    }
    selectors = [
        *(("Deployment", each, each["spec"]["selector"]["matchLabels"])
          for each in rendered.of("Deployment")),
        *(("Service", each, each["spec"]["selector"]) for each in rendered.of("Service")),
        *(("PodDisruptionBudget", each, each["spec"]["selector"]["matchLabels"])
          for each in rendered.of("PodDisruptionBudget")),
    ]  # fmt: skip
    for kind, each, selector in selectors:
        name = each["metadata"]["name"].replace("gateway", "operator")
        found = {one for one, its in labels.items() if selector.items() <= its.items()}
        assert found == {name}, kind


def test_ports_of_services_and_probes_are_those_of_containers(rendered: Rendered) -> None:
    for each in rendered.of("Deployment"):
        served = {
            port["name"]: port["containerPort"]
            for one in each["spec"]["template"]["spec"]["containers"]
            for port in one.get("ports", ())
        }
        probed = {
            one[probe]["httpGet"]["port"]
            for one in each["spec"]["template"]["spec"]["containers"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        }
        assert probed <= served.keys()
        labels = each["spec"]["template"]["metadata"]["labels"].items()
        for service in rendered.of("Service"):
            if service["spec"]["selector"].items() <= labels:
                assert {port["targetPort"] for port in service["spec"]["ports"]} <= served.keys()


def test_every_volume_is_there_and_used(rendered: Rendered) -> None:
    for name, pod in rendered.pods():
        mounted = {one["name"] for each in containers(pod) for one in each.get("volumeMounts", ())}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, name
    made = rendered.names("ConfigMap") | {"kube-root-ca.crt"}
    text = str([pod for _, pod in rendered.pods()])
    assert set(re.findall(r"'configMap': {'(?:items.*?)?name': '([^']+)'", text)) <= made


def test_a_changed_setting_rolls_out_the_operator(default: Rendered) -> None:
    def annotations(done: Rendered) -> Json:
        deployment = done.one("Deployment", "xaas-pipeline-operator")
        found: Json = deployment["spec"]["template"]["metadata"]["annotations"]
        return found

    assert annotations(render({"logLevel": "debug"})) != annotations(default)
    assert annotations(render({"api": {"replicas": 5}})) == annotations(default)


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ({}, "xaas-pipeline:0.1.0"),
        ({"repository": "registry.example:5000/a/b", "tag": "7"}, "registry.example:5000/a/b:7"),
        ({"tag": "7", "digest": f"sha256:{'a' * 64}"}, f"xaas-pipeline@sha256:{'a' * 64}"),
    ],
)
def test_an_image_is_by_tag_or_digest(image: Json, wanted: str) -> None:
    done = render({"image": image})
    images = {one["image"] for _, pod in done.pods() for one in pod["containers"]}
    assert images == {wanted}


# Values that make no difference alone are changed together with what they depend on.
TOGETHER: dict[str, Json] = {
    "serviceMonitor.interval": {"serviceMonitor": {"enabled": True}},
    "serviceMonitor.labels": {"serviceMonitor": {"enabled": True}},
    "serviceMonitor.apiToken.name": {"serviceMonitor": {"enabled": True}},
    "serviceMonitor.apiToken.key": {
        "serviceMonitor": {"enabled": True, "apiToken": {"name": "there"}}
    },
}


def other(path: str, value: object) -> object:
    """A value that may stand for the default."""
    special: Json = {
        "allowedImports": ["numpy"],
        "networkPolicy.steps.namespaces": ["team-a"],
        "networkPolicy.steps.egress": [],
        "operator.spread": "DoNotSchedule",
        "api.spread": "DoNotSchedule",
        "api.service.type": "NodePort",
        "logLevel": "debug",
        "runner.keepFinished": "2h",
        "runner.warm.maxWait": "2h",
        "serviceMonitor.interval": "5s",
    }
    kinds: Json = {
        "digest": f"sha256:{'0' * 64}",
        "pullPolicy": "Always",
        "requests": {"cpu": "1"},
        "limits": {"memory": "9Gi"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "imagePullSecrets": [{"name": "registry"}],
        "probes": [{"namespaceSelector": {}}],
        "clients": [{"namespaceSelector": {}}],
    }
    by_type: dict[type, object] = {bool: not value, int: 7, str: "other", dict: {"other": "x"}}
    return special.get(path) or kinds.get(path.rpartition(".")[2]) or by_type.get(type(value), [])


VALUES = dict(leaves(default_values()))


@pytest.mark.parametrize("path", VALUES, ids=".".join)
def test_each_value_has_an_effect(path: tuple[str, ...]) -> None:
    dotted = ".".join(path)
    base = TOGETHER.get(dotted, {})
    changed = merged(base, nested(path, other(dotted, VALUES[path])))
    assert render(changed).objects != objects(json.dumps(base))


@cache
def objects(values: str) -> list[Json]:
    """The objects for some values; most are compared with the same ones."""
    return render(json.loads(values)).objects


def merged(one: Json, two: Json) -> Json:
    """Two trees as one; the second wins."""
    both: Json = {**one, **two}
    for key in one.keys() & two.keys():
        if isinstance(one[key], dict):
            both[key] = merged(one[key], two[key])
    return both


def test_users_labels_never_hide_ours() -> None:
    mine = {"app.kubernetes.io/component": "mine"}
    done: Any = render({"operator": {"podLabels": mine}})
    deployment = done.one("Deployment", "xaas-pipeline-operator")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == "operator"
