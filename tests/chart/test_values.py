"""values.schema.json refuses what the chart wouldn't understand, and says where it is."""

import json
import re
from typing import Any

import pytest
from tests.chart.kit.rendering import CHART, Json, Refused, default_values, leaves, nested, render

SCHEMA: Json = json.loads((CHART / "values.schema.json").read_text())

TYPOS = [
    "replica",
    "image.repo",
    "crds.keeep",
    "operator.replica",
    "operator.resources.request",
    "api.service.ports",
    "api.nameSpace",
    "evaluator.limits",
    "runner.image.name",
    "runner.keep",
    "networkPolicy.step",
    "networkPolicy.steps.ingress",
    "podDisruptionBudget.minAvailable",
    "serviceMonitor.apiToken.secret",
]

WRONG: list[tuple[str, object]] = [
    ("image.repository", ""),
    ("image.repository", "has space"),
    ("image.tag", "a:b"),
    ("image.tag", 1),
    ("image.digest", "sha256:short"),
    ("image.pullPolicy", "Sometimes"),
    ("imagePullSecrets", ["registry"]),
    ("runAsUser", 0),
    ("runAsUser", "nobody"),
    ("crds.install", "yes"),
    ("logLevel", "loud"),
    ("allowedImports", "numpy"),
    ("allowedImports", ["os; import sys"]),
    ("operator.replicas", -1),
    ("operator.replicas", "2"),
    ("operator.resources.limits.memory", "much"),
    ("operator.resources.requests.cpu", -1),
    ("operator.nodeSelector.zone", 1),
    ("operator.tolerations", [{"effect": "Never"}]),
    ("operator.spread", "sometimes"),
    ("operator.priorityClassName", "High"),
    ("api.namespace", "Default"),
    ("api.namespace", ""),
    ("api.service.type", "ExternalName"),
    ("api.service.port", 70000),
    ("runner.keepFinished", "1 hour"),
    ("runner.keepFinished", 3600),
    ("runner.labels.team", True),
    ("runner.resources.requests.cpu", 0),
    ("runner.resources.limits.memory", "0Mi"),
    ("runner.resources.limits", {"memroy": "1Gi"}),
    ("networkPolicy.enabled", 1),
    ("networkPolicy.api.clients", [{}]),
    ("networkPolicy.api.clients", [{"ipBlock": {"except": []}}]),
    ("networkPolicy.steps.namespaces", "default"),
    ("networkPolicy.steps.egress", [{"from": []}]),
    ("podDisruptionBudget.maxUnavailable", "half"),
    ("serviceMonitor.interval", "often"),
]


@pytest.mark.parametrize("path", TYPOS)
def test_a_typo_is_refused(path: str) -> None:
    parent, _, key = path.rpartition(".")
    with pytest.raises(Refused, match="specifications of the schema") as refusal:
        render(nested(path.split("."), {}))
    assert re.search(f"(?i)additional propert.* '?{key}'? (is )?not allowed", str(refusal.value))
    assert named(parent, refusal)


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_a_wrong_value_is_refused(path: str, value: object) -> None:
    with pytest.raises(Refused, match="specifications of the schema") as refusal:
        render(nested(path.split("."), value))
    assert named(path, refusal)


def named(path: str, refusal: pytest.ExceptionInfo[Refused]) -> bool:
    """Whether a refusal names the value, as one version of helm or another does."""
    return re.search(path.replace(".", "[./]"), str(refusal.value)) is not None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("operator.resources.limits", {"cpu": 2, "memory": "1.5Gi", "ephemeral-storage": "1Gi"}),
        ("operator.tolerations", [{"key": "a", "operator": "Equal", "value": "b"}]),
        ("networkPolicy.steps.egress",
         [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]},
          {"ports": [{"port": 443}, {"port": 1000, "endPort": 2000, "protocol": "UDP"}]}]),
        ("podDisruptionBudget.maxUnavailable", "50%"),
        ("runner.resources.requests", {"cpu": "0.05", "memory": 1048576, "nvidia.com/gpu": 1}),
        ("runner.keepFinished", "1h30m"),
        ("image.repository", "registry.example:5000/team/xaas-pipeline"),
        ("global", {"of": "a parent chart"}),
    ],
)  # fmt: skip
def test_what_is_right_is_taken(path: str, value: object) -> None:
    assert render(nested(path.split("."), value)).of("Deployment")


def own_objects(schema: Json, path: str = "") -> list[tuple[str, Json]]:
    """The schema's objects with keys of the chart's own, by path."""
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rpartition("/")[2]]
    if schema.get("type") != "object" or "properties" not in schema:
        return []
    children = [
        each
        for key, value in schema["properties"].items()
        for each in own_objects(value, f"{path}.{key}")
    ]
    return [(path, schema), *children]


def test_no_object_of_the_schema_is_open() -> None:
    found = own_objects(SCHEMA)
    assert len(found) > 20
    assert [path for path, schema in found if schema.get("additionalProperties") is not False] == []


def test_the_schema_knows_the_values_and_no_others() -> None:
    known = {
        f"{path}.{key}".lstrip(".") for path, schema in own_objects(SCHEMA)
        for key in schema["properties"]
    }  # fmt: skip
    inner = {path.lstrip(".") for path, _ in own_objects(SCHEMA)}
    told = {".".join(path) for path, _ in leaves(default_values())}
    passed = re.compile(r"global$|.*(resources|affinity)\.")  # Kubernetes' own fields
    assert {each for each in known - inner if not passed.match(each)} == {
        each for each in told if not passed.match(each)
    } - inner


def rows() -> dict[str, Any]:
    """The table of values in the chart's README: default by path."""
    text = (CHART / "README.md").read_text()
    return dict(re.findall(r"^\| `([A-Za-z.]+)` \| (.*?) \|", text, re.MULTILINE))


def test_the_readme_lists_each_value_with_its_default() -> None:
    told = {".".join(path): value for path, value in leaves(default_values())}
    assert rows() == {path: f"`{json.dumps(value)}`" for path, value in told.items()}
