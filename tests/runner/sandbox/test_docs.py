"""The examples of docs/scripts.md are scripts: the policy lets each of them pass."""

import re
from pathlib import Path

import pytest

from xaas_runner import sandbox
from xaas_runner.sandbox.on_request import ON_REQUEST

PAGE = Path(__file__).parents[3] / "docs" / "scripts.md"
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 5


@pytest.mark.parametrize("source", EXAMPLES)
def test_an_example_compiles(source: str) -> None:
    is_condition = "tasks[" in source
    compile_it = sandbox.compile_condition if is_condition else sandbox.compile_script
    program = compile_it(source)
    assert is_condition or program.asynchronous == ("await " in source or "async " in source)


def test_the_modules_that_a_setting_opens_are_listed() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"`{' '.join(ON_REQUEST)}`" in text
