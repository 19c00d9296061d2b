"""The table from REST to the cluster's permissions: complete, and spelled out once more."""

from typing import Any, cast

import pytest
from starlette.routing import BaseRoute

from xaas_api import permissions
from xaas_api.app import create_app
from xaas_api.auth import Access
from xaas_api.permissions import RULES, rewritten, rule_of
from xaas_api.services import Services

# By verb and resource in Kubernetes' words; "*" marks what names one object.
EXPECTED = {
    "POST /pipelinetasks": ["create pipelinetasks"],
    "GET /pipelinetasks": ["list pipelinetasks"],
    "GET /pipelinetasks/{name}": ["get pipelinetasks*"],
    "PUT /pipelinetasks/{name}": ["update pipelinetasks*"],
    "DELETE /pipelinetasks/{name}": ["delete pipelinetasks*"],
    "POST /pipelines": ["create pipelines"],
    "GET /pipelines": ["list pipelines"],
    "GET /pipelines/{name}": ["get pipelines*"],
    "PUT /pipelines/{name}": ["update pipelines*"],
    "DELETE /pipelines/{name}": ["delete pipelines*"],
    "POST /pipelineruns": ["create pipelineruns"],
    "GET /pipelineruns": ["list pipelineruns"],
    "GET /pipelineruns/{instance_id}": ["get pipelineruns*"],
    "PATCH /pipelineruns/{instance_id}": ["patch pipelineruns*"],
    "DELETE /pipelineruns/{instance_id}": ["delete pipelineruns*"],
    "GET /pipelineruns/{instance_id}/tasks": ["get pipelineruns*", "list pipelinetaskruns"],
    "GET /pipelineruns/{instance_id}/tasks/{ref}/{process_type}": [
        "get pipelineruns*",
        "get pipelinetaskruns",
    ],
    "GET /pipelineruns/{instance_id}/tasks/{ref}/{process_type}/logs": ["get pods/log"],
    "GET /events": ["watch pipelineruns"],
    "GET /metrics": ["get /metrics"],
    "GET /openapi.json": [],
}

OPEN = {"GET /docs", "GET /healthz", "GET /readyz"}


def routes() -> list[BaseRoute]:
    """All routes of the product."""
    services = cast(Any, Services)(None, None, None)
    return create_app(services, Access()).fastapi.routes


def test_every_route_has_a_rule_and_every_rule_a_route() -> None:
    found = {
        (method, getattr(route, "path_format", repr(route)))
        for route in routes()
        for method in getattr(route, "methods", None) or {"GET"}  # a WebSocket's handshake
    }
    assert found == set(RULES)


def test_what_each_call_needs() -> None:
    found: dict[str, list[str]] = {}
    for (method, path), rule in RULES.items():
        needs = [
            f"{need.verb} {need.resource}{need.part and '/' + need.part}{'*' if need.of else ''}"
            for need in rule.needs
        ]
        if not rule.is_open:
            found[f"{method} {path}"] = needs if rule.path is None else [str(rule.path)]
    assert found == EXPECTED


def test_what_is_open() -> None:
    assert {" ".join(key) for key, rule in RULES.items() if rule.is_open} == OPEN


def test_groups() -> None:
    groups = {need.resource: need.group for rule in RULES.values() for need in rule.needs}
    assert groups.pop("pods") == ""
    assert set(groups.values()) == {"xaas.dev"}


def test_a_route_without_a_rule_can_t_be_called() -> None:
    with pytest.raises(LookupError, match="GET /secrets"):
        rule_of(("GET", "/secrets"))


def test_the_table_in_the_docs() -> None:
    before = f"a\n{permissions.BEGIN}\nold\n{permissions.END}\nb\n"
    written = rewritten(before)
    assert "old" not in written
    assert written.startswith("a\n")
    assert written.endswith("\nb\n")
    assert "| `GET /events` | `watch` `pipelineruns` |" in written
    assert rewritten(written) == written
    with pytest.raises(ValueError, match="generated"):
        rewritten("nothing")
