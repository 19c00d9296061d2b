"""The CRDs, judged by a real API server. No operator is needed: the API server alone is looked at."""

import itertools
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = str(Path(__file__).resolve().parents[3])
if ROOT not in sys.path:  # the kit's modules, however pytest was started
    sys.path.insert(0, ROOT)

from tests.kube.crds.kit.documents import CRDS  # noqa: E402 (needs the path above)
from tests.kube.crds.kit.kubectl import Kubectl  # noqa: E402


@pytest.fixture(scope="session")
def applied(api_server: Path) -> Path:
    """The CRDs are there, as they are in crds/, and nobody acts on what is written; the kubeconfig."""
    kubectl = Kubectl(api_server, "default")
    # Forced: they were created otherwise.
    kubectl("apply", "--server-side", "--force-conflicts", f"--filename={CRDS}").ok()
    kubectl("wait", "--for=condition=Established", f"--filename={CRDS}", "--timeout=30s").ok()
    return api_server


@pytest.fixture(scope="module")
def kubectl(applied: Path) -> Iterator[Kubectl]:
    """kubectl in a namespace of these tests."""
    namespace = f"crds-{uuid.uuid4().hex[:8]}"
    Kubectl(applied, "default")("create", "namespace", namespace).ok()
    yield Kubectl(applied, namespace)
    Kubectl(applied, "default")("delete", "namespace", namespace, "--wait=false").ok()


@pytest.fixture(scope="module")
def new_name() -> Callable[[], str]:
    """Names that no other test of the module has."""
    numbers = itertools.count(1)
    return lambda: f"thing-{next(numbers)}"
