"""What `helm test` runs, here on the embedded product: it judges right, and leaves nothing."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chart.kit.rendering import CHART

from xaas_cli import demo
from xaas_cli.client import Api

pytestmark = [pytest.mark.e2e]


@pytest.fixture(scope="module")
def token_file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="xaas-") as folder:
        file = Path(folder) / "token"
        file.write_text("a-token-of-this-test")
        yield file


@pytest.fixture(scope="module")
def address(token_file: Path) -> Iterator[str]:
    """A server that takes requests with that token only."""
    with (
        tempfile.TemporaryDirectory(prefix="xaas-") as data,
        demo.server(Path(data), "--token-file", str(token_file)) as address,
    ):
        yield address


def trial(
    address: str, token_file: Path, **changed: tuple[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run it as the pod does; `changed` are lines of the script that say something else."""
    script = (CHART / "files" / "trial_run.py").read_text()
    for before, after in changed.values():
        assert script.count(before) == 1
        script = script.replace(before, after)
    told = {"XAAS_API": address, "XAAS_NAMESPACE": "default", "XAAS_TOKEN_FILE": str(token_file)}
    return subprocess.run(
        [sys.executable, "-I", "-c", script],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=False,
    )


def left(address: str, token_file: Path) -> int:
    """How many objects there are."""
    with Api(address, token_file.read_text()) as api:
        kinds = ("pipelines", "pipelinetasks", "pipelineruns")
        return sum(len(list(api.items(kind, {}))) for kind in kinds)


def test_it_passes_where_the_product_works(address: str, token_file: Path) -> None:
    done = trial(address, token_file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("Both runs ended as they should.\n")
    assert left(address, token_file) == 0


def test_a_run_that_ends_otherwise_is_told_with_its_story(address: str, token_file: Path) -> None:
    otherwise = ('{"fail_at": "second"}, "cancelled"', '{"fail_at": "second"}, "complete"')
    done = trial(address, token_file, otherwise=otherwise)
    assert done.returncode == 1
    assert "the run should be complete and is cancelled" in done.stderr
    assert "second do: failed" in done.stderr
    assert "told to fail" in done.stderr
    assert left(address, token_file) == 0


def test_a_run_that_never_ends_is_told(address: str, token_file: Path) -> None:
    step = (
        '"doScript": \'params["made"]',
        '"doScript": \'await asyncio.sleep(99)\\nparams["made"]',
    )
    done = trial(
        address, token_file, step=step, within=("OVER_WITHIN: Final = 120", "OVER_WITHIN = 1")
    )
    assert done.returncode == 1
    assert "the run should be complete and is processing" in done.stderr
    assert "first do: running" in done.stderr


def test_a_refusal_is_told(address: str, token_file: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "token"
    wrong.write_text("another-token")
    done = trial(address, wrong, within=("READY_WITHIN: Final = 60", "READY_WITHIN = 1"))
    assert done.returncode == 1
    assert "GET /pipelines: 401" in done.stderr
