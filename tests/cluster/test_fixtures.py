"""Without a cluster its tests fail in CI, and are skipped elsewhere, saying why."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cluster import places

pytestmark = pytest.mark.slow  # each starts a pytest of its own

TESTS = """
def test_on_a_cluster(namespace: str) -> None:
    raise AssertionError("there is none")

def test_on_it_too(kubeconfig: str) -> None:
    raise AssertionError("there is none")

def test_elsewhere() -> None:
    pass
"""


def outcome(folder: Path, *words: str, **environment: str) -> str:
    """What pytest says of TESTS where the cluster that is named isn't there."""
    file = folder / "test_one.py"
    file.write_text(TESTS)
    less = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CI", "XAAS_REQUIRE_CLUSTER")
    }
    none = {"XAAS_TEST_KUBECONFIG": str(folder / "none")}
    command = [sys.executable, "-m", "pytest", f"--config-file={places.ROOT}/pyproject.toml"]
    own = ["-p", "tests.cluster.fixtures", "-p", "no:cacheprovider", f"--confcutdir={folder}"]
    done = subprocess.run(
        [*command, *own, *words, str(file)],
        cwd=places.ROOT,
        env=less | none | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_they_are_skipped_and_say_why(tmp_path: Path) -> None:
    said = outcome(tmp_path)
    assert "1 passed, 2 skipped" in said
    [line] = [each for each in said.splitlines() if each.startswith("SKIPPED")]
    assert line.startswith("SKIPPED [2] ")
    assert f"isn't tested: XAAS_TEST_KUBECONFIG names {tmp_path / 'none'}, which is no" in line


@pytest.mark.parametrize("variable", ["CI", "XAAS_REQUIRE_CLUSTER"])
def test_they_fail_where_they_must_run(tmp_path: Path, variable: str) -> None:
    said = outcome(tmp_path, **{variable: "1"})
    assert "1 passed, 2 errors" in said
    assert "must be tested here, but: XAAS_TEST_KUBECONFIG names" in said


def test_ci_can_do_without(tmp_path: Path) -> None:
    assert "1 passed, 2 skipped" in outcome(tmp_path, CI="true", XAAS_REQUIRE_CLUSTER="0")


def test_they_are_marked_and_run_last(tmp_path: Path) -> None:
    assert "1 passed, 2 deselected" in outcome(tmp_path, "-m", "not cluster")
    said = outcome(tmp_path, "-v")
    assert said.index("test_elsewhere") < said.index("test_on_a_cluster")
