"""What holds for the tests of every level."""

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:  # for the modules in tests/, however pytest was started
    sys.path.insert(0, ROOT)

pytest_plugins = ["tests.cluster.fixtures"]

# How long an example takes depends on the machine; what it shows doesn't.
settings.register_profile("xaas", deadline=None)
settings.load_profile("xaas")

OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, which is what the product runs on."""
    return "asyncio"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what ran, one line for each level (a folder of tests/)."""
    levels: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for outcome in OUTCOMES:
        for report in terminalreporter.stats.get(outcome, []):
            file = report.nodeid.partition("::")[0]
            levels[file.removeprefix("tests/").partition("/")[0]][outcome] += 1
    if levels:
        terminalreporter.section("what ran")
    for level, counts in sorted(levels.items()):
        listed = ", ".join(
            f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]
        )
        terminalreporter.write_line(f"{level:<14}{listed}")


@pytest.fixture(autouse=True)
def _same_limit_of_digits() -> Iterator[None]:
    """The product's processes each set the limit for reading integers; here they share one."""
    before = sys.get_int_max_str_digits()
    yield
    sys.set_int_max_str_digits(before)
