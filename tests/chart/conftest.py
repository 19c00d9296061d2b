"""What the tests of the chart share. They need helm, and no cluster but where they say so."""

from pathlib import Path

import pytest
from tests.chart.kit.rendering import Json, Rendered, render

ALL_ON: Json = {
    "imagePullSecrets": [{"name": "registry"}],
    "allowedImports": ["numpy", "xml.etree"],
    "operator": {"podLabels": {"team": "net"}, "podAnnotations": {"note": "n"}},
    "api": {"affinity": {"podAntiAffinity": {}}, "service": {"type": "LoadBalancer"}},
    "runner": {"image": {"digest": f"sha256:{'0' * 64}"}, "runtimeClassName": "gvisor"},
    "networkPolicy": {"steps": {"namespaces": ["team-a"]}},
    "serviceMonitor": {"enabled": True, "apiToken": {"name": "metrics-token"}},
}
"""Everything that can be switched on is on."""

ALL_OFF: Json = {
    "runAsUser": None,
    "crds": {"install": False},
    "operator": {"replicas": 1, "spread": ""},
    "api": {"replicas": 1, "spread": ""},
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
}
"""Everything that can be switched off is off."""


@pytest.fixture(scope="session", autouse=True)
def _helm(helm: Path) -> Path:
    """All tests need helm; without, they are skipped with the reason."""
    return helm


@pytest.fixture(scope="session")
def default(_helm: Path) -> Rendered:
    """The chart as it comes."""
    return render()


@pytest.fixture(scope="session", params=["default", "all on", "all off"])
def rendered(_helm: Path, request: pytest.FixtureRequest) -> Rendered:
    """The chart as it comes, and with as much and as little as there can be."""
    return render({"default": {}, "all on": ALL_ON, "all off": ALL_OFF}[request.param])
