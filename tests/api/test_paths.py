"""Paths as they are routed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaas_api.paths import NOWHERE, in_path, routed


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/pipelines", "/pipelines"),
        (b"/p%69pelines", "/pipelines"),
        (b"/pipelines/a%2Fb", "/pipelines/a%2Fb"),
        (b"/pipelines/a%252Fb", "/pipelines/a%252Fb"),
        (b"/pipelines/100%", "/pipelines/100%25"),
        (b"/pipelines/%C3%A9", "/pipelines/é"),
        (b"/pipelines/%FF", NOWHERE),
        (b"/pipelines/\xff", NOWHERE),
        (b"/pipelines%0A", NOWHERE),
        (b"/pipelines/%00", NOWHERE),
    ],
)
def test_routed(raw: bytes, path: str) -> None:
    assert routed(raw) == path


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_a_name_is_one_segment(name: str) -> None:
    path = routed(f"/pipelines/{in_path(name)}/tasks".encode())
    before, segment, after = path[1:].split("/")
    assert (before, after) == ("pipelines", "tasks")
    assert segment.replace("%2F", "/").replace("%25", "%") == name
