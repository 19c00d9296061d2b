"""What is in the two images, and how they start: read from their archives, without running them."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.cluster import archives
from tests.cluster.fixtures import Archives

from xaas_runner.contract import PROTOCOL

pytestmark = pytest.mark.slow

UNCHECKED = b"\x01\0\0\0"
"""Bytes 4 to 8 of a .pyc that is valid by the hash of its source, and never checked (PEP 552)."""


@pytest.fixture(params=["runner", "service"], scope="session")
def archive(request: pytest.FixtureRequest, image_archives: Archives) -> Path:
    """Each of the two."""
    found: Path = getattr(image_archives, request.param)
    return found


@pytest.fixture(scope="session")
def entries(archive: Path) -> dict[str, archives.Entry]:
    """All files in it."""
    return archives.entries(archive)


def settings(archive: Path) -> dict[str, Any]:
    """What a container gets if nothing else is said."""
    return archives.configuration(archive)


def test_nobody_is_root(archive: Path) -> None:
    assert settings(archive)["User"] == "65532:65532"


def test_the_product_is_nobodys_to_write(entries: dict[str, archives.Entry]) -> None:
    own = {path: each for path, each in entries.items() if path.startswith("/app/")}
    assert own
    assert {(each.user, each.group) for each in own.values()} == {(0, 0)}
    assert [path for path, each in own.items() if each.mode & 0o022] == []
    assert [path for path, each in own.items() if not each.mode & 0o004] == []


def test_all_of_the_product_is_compiled_and_never_checked(
    entries: dict[str, archives.Entry],
) -> None:
    compiled = {
        path: each for path, each in entries.items() if path.endswith(".pyc") and "/app/" in path
    }
    assert {each.head[4:8] for each in compiled.values()} == {UNCHECKED}
    sources = {path for path in entries if re.match(r"/app/xaas_.*\.py$", path)}
    without = {re.sub(r"__pycache__/(.+)\.cpython-\d+\.pyc$", r"\1.py", path) for path in compiled}
    assert sources
    assert sources - without == set()


def test_pythons_own_modules_are_compiled_too(entries: dict[str, archives.Entry]) -> None:
    found = [
        each
        for path, each in entries.items()
        if re.match(r"/usr/(local/)?lib/python3\.\d+/(json|asyncio|urllib)/__pycache__/", path)
    ]
    assert len(found) > 30
    assert {each.head[4:8] for each in found} == {UNCHECKED}


def test_the_runner_says_its_protocol_and_starts_as_a_step(image_archives: Archives) -> None:
    told = settings(image_archives.runner)
    assert told["Labels"]["dev.xaas.protocol"] == str(PROTOCOL)
    assert told["Entrypoint"] == ["python", "-I", "-S", "/app/xaas_runner"]
    assert told["Cmd"] == ["step"]


def test_the_runner_has_one_dependency(image_archives: Archives) -> None:
    paths = archives.entries(image_archives.runner)
    folders = {path.split("/")[2] for path in paths if path.startswith("/app/")}
    packages = {name for name in folders if not name.endswith(".dist-info")}
    assert packages == {"RestrictedPython", "xaas_runner"}


def test_the_service_has_all_rooms_it_starts(image_archives: Archives) -> None:
    paths = set(archives.entries(image_archives.service))
    for room in ("xaas_core", "xaas_kube", "xaas_operator", "xaas_api", "xaas_runner"):
        assert f"/app/{room}/__init__.py" in paths
    assert [path for path in paths if path.startswith(("/app/tests/", "/source/", "/build/"))] == []
    assert not any(path.startswith("/app/hatchling/") for path in paths)
