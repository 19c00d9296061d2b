"""`Store`: definitions."""

from collections.abc import Sequence
from typing import Any

import pytest

from xaas_core.models.objects import Definition
from xaas_core.models.pipeline_task import PipelineTaskSpec
from xaas_core.ports import (
    AlreadyExists,
    Conflict,
    Idempotency,
    KeyReused,
    Kind,
    NotFound,
    Query,
    Store,
)
from xaas_core.testing.builders import entry, pipeline_spec, task_spec
from xaas_core.testing.clock import VirtualClock

pytestmark = pytest.mark.anyio

HERE = "default"
ODD = "タスク 1/é"


async def make(store: Store, *names: str) -> list[str]:
    """PipelineTasks, one after the other."""
    for name in names:
        await store.create_definition(Kind.TASK, HERE, task_spec(name), None)
    return list(names)


def names(items: Sequence[Definition[Any]]) -> list[str]:
    return [item.spec.name for item in items]


async def every(store: Store, query: Query) -> list[str]:
    """All pages of a list."""
    found: list[str] = []
    while True:
        page = await store.list_definitions(Kind.TASK, HERE, query)
        assert 0 < len(page.items) <= query.limit or page.after is None
        found += names(page.items)
        if page.after is None:
            return found
        query = Query(**{**vars(query), "after": page.after})


async def test_what_is_written_comes_back(store: Store, clock: VirtualClock) -> None:
    spec = task_spec(
        ODD,
        (True, False),
        timeout="1h30m",
        resources={
            "requests": None,
            "limits": {"memory": "1Gi", "cpu": 1.0, "a/b": 0.5, "a/a": 2, "x/y": None},
        },
    )
    made = await store.create_definition(Kind.TASK, HERE, spec, None)
    assert made.spec == spec
    assert (made.meta.namespace, made.meta.created_at) == (HERE, clock.now())
    found = await store.get_definition(Kind.TASK, HERE, ODD)
    assert found == made
    assert isinstance(found.spec, PipelineTaskSpec)
    assert repr(found.spec.resources) == repr(spec.resources)
    assert found.spec.as_written() == spec.as_written()


async def test_a_pipeline_comes_back(store: Store) -> None:
    spec = pipeline_spec("p", entry("a"), entry("b", ["a"], condition="params['x']"))
    made = await store.create_definition(Kind.PIPELINE, HERE, spec, None)
    assert (await store.get_definition(Kind.PIPELINE, HERE, "p")).spec == spec
    assert made.spec.as_written() == spec.as_written()


async def test_a_name_is_unique_per_kind_and_namespace(store: Store) -> None:
    await make(store, "one")
    with pytest.raises(AlreadyExists, match="one"):
        await make(store, "one")
    await store.create_definition(Kind.TASK, "elsewhere", task_spec("one"), None)
    await store.create_definition(Kind.PIPELINE, HERE, pipeline_spec("one", entry("a")), None)
    await make(store, "One", "one x", "one/")
    listed = await store.list_definitions(Kind.TASK, HERE, Query())
    assert names(listed.items) == ["one/", "one x", "One", "one"]


async def test_what_isnt_there_isnt_found(store: Store) -> None:
    await make(store, "one")
    for kind, namespace, name in (
        (Kind.TASK, HERE, "two"),
        (Kind.TASK, "elsewhere", "one"),
        (Kind.PIPELINE, HERE, "one"),
    ):
        with pytest.raises(NotFound, match=name):
            await store.get_definition(kind, namespace, name)
        with pytest.raises(NotFound, match=name):
            await store.delete_definition(kind, namespace, name, None)
    with pytest.raises(NotFound, match="two"):
        await store.replace_definition(Kind.TASK, HERE, task_spec("two"), None)


async def test_replacing_changes_the_version_only(store: Store, clock: VirtualClock) -> None:
    made = await store.create_definition(Kind.TASK, HERE, task_spec("one"), None)
    clock.advance(1000)
    changed = task_spec("one", (True, True))
    new = await store.replace_definition(Kind.TASK, HERE, changed, None)
    assert new.spec == changed
    assert (new.meta.uid, new.meta.created_at) == (made.meta.uid, made.meta.created_at)
    assert new.meta.resource_version != made.meta.resource_version
    assert await store.get_definition(Kind.TASK, HERE, "one") == new


async def test_a_version_guards(store: Store) -> None:
    old = await store.create_definition(Kind.TASK, HERE, task_spec("one"), None)
    version = old.meta.resource_version
    new = await store.replace_definition(Kind.TASK, HERE, task_spec("one"), version)
    for wrong in (version, "", "no version"):
        with pytest.raises(Conflict):
            await store.replace_definition(Kind.TASK, HERE, task_spec("one", ()), wrong)
        with pytest.raises(Conflict):
            await store.delete_definition(Kind.TASK, HERE, "one", wrong)
    assert await store.get_definition(Kind.TASK, HERE, "one") == new
    await store.delete_definition(Kind.TASK, HERE, "one", new.meta.resource_version)


async def test_a_version_never_comes_back(store: Store) -> None:
    seen = set()
    for _ in range(3):
        made = await store.create_definition(Kind.TASK, HERE, task_spec("one"), None)
        new = await store.replace_definition(Kind.TASK, HERE, task_spec("one"), None)
        seen |= {made.meta.resource_version, new.meta.resource_version}
        await store.delete_definition(Kind.TASK, HERE, "one", None)
    assert len(seen) == 6


async def test_a_deleted_name_is_free(store: Store) -> None:
    old = await store.create_definition(Kind.TASK, HERE, task_spec("one"), None)
    await store.delete_definition(Kind.TASK, HERE, "one", None)
    with pytest.raises(NotFound):
        await store.get_definition(Kind.TASK, HERE, "one")
    new = await store.create_definition(Kind.TASK, HERE, task_spec("one"), None)
    assert new.meta.uid != old.meta.uid


async def test_a_key_makes_one_object(store: Store) -> None:
    key = Idempotency("key", "digest")
    made = await store.create_definition(Kind.TASK, HERE, task_spec("one"), key)
    assert await store.create_definition(Kind.TASK, HERE, task_spec("one"), key) == made
    with pytest.raises(KeyReused, match="key"):
        await store.create_definition(
            Kind.TASK, HERE, task_spec("two"), Idempotency("key", "other")
        )
    listed = await store.list_definitions(Kind.TASK, HERE, Query())
    assert names(listed.items) == ["one"]


async def test_a_key_is_of_a_kind_and_namespace(store: Store) -> None:
    await store.create_definition(Kind.TASK, HERE, task_spec("one"), Idempotency("key", "a"))
    spec = pipeline_spec("one", entry("a"))
    await store.create_definition(Kind.PIPELINE, HERE, spec, Idempotency("key", "b"))
    other = Idempotency("key", "c")
    made = await store.create_definition(Kind.TASK, "elsewhere", task_spec("one"), other)
    assert made.meta.namespace == "elsewhere"


async def test_a_key_whose_post_was_refused_can_be_used(store: Store) -> None:
    await make(store, "one")
    key = Idempotency("key", "digest")
    with pytest.raises(AlreadyExists):
        await store.create_definition(Kind.TASK, HERE, task_spec("one"), key)
    await store.delete_definition(Kind.TASK, HERE, "one", None)
    made = await store.create_definition(Kind.TASK, HERE, task_spec("one"), key)
    assert made.spec.name == "one"


@pytest.mark.parametrize("apart", [0, 1])
async def test_lists_are_newest_first_in_pages(
    store: Store, clock: VirtualClock, apart: int
) -> None:
    made = []
    for number in range(7):
        made += await make(store, f"task {number}")
        clock.advance(apart)
    for limit in (1, 2, 3, 7, 8, 100):
        assert await every(store, Query(limit=limit)) == made[::-1]


async def test_pages_arent_shifted_by_what_comes_and_goes(
    store: Store, clock: VirtualClock
) -> None:
    await make(store, *"abcdefg")
    first = await store.list_definitions(Kind.TASK, HERE, Query(limit=3))
    assert names(first.items) == ["g", "f", "e"]
    clock.advance(1)
    await make(store, "new")
    for gone in ("e", "c"):  # the last of the page before, and one of the next
        await store.delete_definition(Kind.TASK, HERE, gone, None)
    second = await store.list_definitions(Kind.TASK, HERE, Query(limit=3, after=first.after))
    assert names(second.items) == ["d", "b", "a"]
    assert second.after is None


@pytest.mark.parametrize("token", ["", "x", "-1", "runs-1", "1; DROP TABLE", "definitions-1-x"])
async def test_a_token_that_is_none_is_refused(store: Store, token: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the text is the implementation's
        await store.list_definitions(Kind.TASK, HERE, Query(after=token))


async def test_filters(store: Store, clock: VirtualClock) -> None:
    start = clock.now()
    for name, category in (("a", "red"), ("b", "blue"), ("c", "red"), ("d", "")):
        spec = task_spec(name).model_copy(update={"category": category})
        await store.create_definition(Kind.TASK, HERE, spec, None)
        clock.advance(10)
    assert await every(store, Query(category="red", limit=1)) == ["c", "a"]
    assert await every(store, Query(category="")) == ["d"]
    assert await every(store, Query(category="green")) == []
    assert await every(store, Query(created_before=start + 10)) == ["a"]
    assert await every(store, Query(created_after=start + 10)) == ["d", "c"]
    both = Query(created_after=start, created_before=start + 30, category="red")
    assert await every(store, both) == ["c"]
