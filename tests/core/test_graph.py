"""The DAG: what is refused, and the order of the pipeline."""

import tracemalloc
from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaas_core.engine.graph import Graph, GraphError, check

Tasks = list[tuple[str, list[str]]]
REFS = "abcdefgh"


@st.composite
def dags(draw: st.DrawFn) -> dict[str, list[str]]:
    """A DAG whose order in `tasks` says nothing about its edges."""
    count = draw(st.integers(1, len(REFS)))
    ranked = draw(st.permutations(REFS[:count]))
    edges = {
        ref: draw(st.lists(st.sampled_from(ranked[:i]), unique=True)) if i else []
        for i, ref in enumerate(ranked)
    }
    return {ref: edges[ref] for ref in draw(st.permutations(REFS[:count]))}


@st.composite
def graphs(draw: st.DrawFn) -> Tasks:
    """Tasks with any edges between known refs: often no DAG."""
    refs = list(REFS[: draw(st.integers(1, 6))])
    return [(ref, draw(st.lists(st.sampled_from(refs), unique=True, max_size=3))) for ref in refs]


def naive_order(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """Repeatedly the first in `tasks` whose dependencies are all placed."""
    placed: list[str] = []
    while True:
        fits = [ref for ref in edges if ref not in placed and set(edges[ref]) <= set(placed)]
        if not fits:
            return placed
        placed.append(fits[0])


def naive_ancestors(edges: Mapping[str, Sequence[str]], ref: str) -> set[str]:
    """All that `ref` depends on."""
    return {*edges[ref]}.union(*(naive_ancestors(edges, need) for need in edges[ref]))


@pytest.mark.parametrize(
    ("tasks", "order"),
    [
        ([("a", [])], "a"),
        ([("b", []), ("a", [])], "ba"),
        ([("b", ["a"]), ("a", [])], "ab"),
        ([("d", ["b", "c"]), ("c", ["a"]), ("b", ["a"]), ("a", [])], "acbd"),
        # e is first in tasks, but a's dependant b comes before it is possible
        ([("e", ["b"]), ("a", []), ("c", []), ("b", ["a"])], "acbe"),
        # a task that becomes possible goes before a later one that was possible all along
        ([("z", []), ("y", ["z"]), ("x", [])], "zyx"),
    ],
)
def test_order(tasks: Tasks, order: str) -> None:
    check(tasks)
    assert Graph(dict(tasks)).order == tuple(order)


@pytest.mark.parametrize(
    ("tasks", "text", "ref", "field"),
    [
        ([("a", []), ("a", [])], "ref 'a' occurs more than once", "a", "ref"),
        ([("a", ["x"]), ("b", [])], "'a' depends on 'x', which is no ref", "a", "dependsOn"),
        ([("a", []), ("b", ["a", "a"])], "'b' names 'a' twice", "b", "dependsOn"),
        ([("a", ["a"])], "cycle: a -> a", "a", "dependsOn"),
    ],
)
def test_refused(tasks: Tasks, text: str, ref: str, field: str) -> None:
    with pytest.raises(GraphError, match=text) as caught:
        check(tasks)
    assert (caught.value.ref, caught.value.field) == (ref, field)


def test_an_unknown_ref_is_refused_with_the_known_ones() -> None:
    with pytest.raises(GraphError, match=r"refs: 'a', 'b'"):
        check([("a", []), ("b", ["c"])])


@given(dags())
def test_order_of_any_dag(edges: dict[str, list[str]]) -> None:
    check(list(edges.items()))
    assert list(Graph(edges).order) == naive_order(edges)


@given(dags())
def test_ancestors_and_descendants_of_any_dag(edges: dict[str, list[str]]) -> None:
    graph = Graph(edges)
    for ref in edges:
        assert graph.ancestors(ref) == naive_ancestors(edges, ref)
        assert graph.descendants(ref) == {r for r in edges if ref in naive_ancestors(edges, r)}


@given(graphs())
def test_refused_are_exactly_those_with_a_cycle(tasks: Tasks) -> None:
    edges = dict(tasks)
    if len(naive_order(edges)) == len(edges):
        check(tasks)
        return
    with pytest.raises(GraphError, match="cycle") as caught:
        check(tasks)
    shown = str(caught.value).partition(": ")[2].split(" -> ")
    assert shown[0] == shown[-1]
    assert len(shown) >= 2
    # Read from left to right each one is needed by the next.
    assert all(needed in edges[ref] for needed, ref in pairwise(shown))
    assert caught.value.ref == shown[0]


def test_a_long_chain_needs_no_recursion() -> None:
    refs = [f"t{i}" for i in range(3000)]
    edges = {ref: refs[max(i - 1, 0) : i] for i, ref in enumerate(refs)}
    check(list(edges.items()))
    graph = Graph(edges)
    assert graph.order == tuple(refs)
    tracemalloc.start()
    assert len(graph.ancestors(refs[-1])) == len(graph.descendants(refs[0])) == 2999
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 5_000_000  # as sets of refs it would be four hundred million
    assert graph.depends(refs[9], refs[3])
    assert not graph.depends(refs[3], refs[9])
