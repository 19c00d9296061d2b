"""Names of objects, derived from users' own."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaas_core.engine.states import Side
from xaas_kube import names

DNS = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
ANY_NAME = st.text(min_size=1, max_size=253)
UID = "6e1f0c52-6b2e-4c62-9a53-0a2f52a4d1f0"


@pytest.mark.parametrize("name", ["a", "add-vlan", "a.b.c", "0", "x" * 253])
def test_a_dns_name_is_kept(name: str) -> None:
    assert names.definition_name(name) == name


@pytest.mark.parametrize(
    "name", ["Task-1", "タスク 1/é", "-a", "a..b", "a_b", "x" * 254, "a.-b", "/"]
)
def test_any_other_is_derived(name: str) -> None:
    derived = names.definition_name(name)
    assert derived != name
    assert DNS.fullmatch(derived)
    assert len(derived) <= 63


def test_what_can_be_read_of_a_name_is_kept() -> None:
    assert names.definition_name("Task 1").startswith("task-1-")


def test_one_that_looks_derived_takes_nobodys_place() -> None:
    derived = names.definition_name("Task 1")
    assert names.definition_name(derived) != derived


@given(one=ANY_NAME, two=ANY_NAME)
def test_different_names_have_different_places(one: str, two: str) -> None:
    assert (names.definition_name(one) == names.definition_name(two)) == (one == two)


@given(run=st.from_regex(r"[a-z0-9][-a-z0-9.]{0,200}[a-z0-9]", fullmatch=True), ref=ANY_NAME)
def test_a_task_runs_name_is_a_dns_name(run: str, ref: str) -> None:
    made = {names.task_run_name(run, UID, ref, side) for side in Side}
    assert len(made) == 2
    assert all(DNS.fullmatch(name) and len(name) <= 253 for name in made)


@given(pipeline=ANY_NAME)
def test_a_runs_name_is_a_dns_name(pipeline: str) -> None:
    assert DNS.fullmatch(names.run_name(pipeline, "0a1b2c3d"))


def test_one_key_one_run() -> None:
    assert names.keyed_run_name("a") == names.keyed_run_name("a") != names.keyed_run_name("b")


@given(parts=st.lists(st.text(), min_size=2, max_size=4))
def test_a_digest_tells_where_a_text_ends(parts: list[str]) -> None:
    assert names.digest(*parts) != names.digest("".join(parts))
