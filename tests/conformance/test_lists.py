"""Lists: items, limit and continue, filters, newest first."""

from typing import Any

import pytest
from tests.conformance.kit.plan import node
from tests.conformance.kit.product import Product

KINDS = ["pipelinetasks", "pipelines"]


def make(product: Product, kind: str, count: int, category: str) -> list[str]:
    """Definitions, the oldest first."""
    made = []
    for _ in range(count):
        name = product.name()
        member: dict[str, Any] = {"steps": []}
        if kind == "pipelines":
            member = {"tasks": [{"ref": "a", "name": "T", "dependsOn": []}]}
        product.define(kind, {"category": category, "name": name, **member})
        made.append(name)
    return made


def pages(product: Product, kind: str, **query: Any) -> list[list[Any]]:
    """All pages of a list, each a list of items."""
    found = []
    for _ in range(50):
        answer = product.rest.get(kind, **query)
        found.append(answer["items"])
        if not answer.get("continue"):
            return found
        query["continue"] = answer["continue"]
    raise AssertionError(f"the list of {kind} goes on for ever")


@pytest.mark.parametrize("kind", KINDS)
def test_newest_first(product: Product, kind: str) -> None:
    made = make(product, kind, 5, product.tag)
    items = product.rest.get(kind, category=product.tag)["items"]
    assert [item["name"] for item in items] == made[::-1]
    times = [item["created_at"] for item in items]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages(product: Product, kind: str, limit: int) -> None:
    made = make(product, kind, 7, product.tag)
    found = pages(product, kind, category=product.tag, limit=limit)
    assert [item["name"] for page in found for item in page] == made[::-1]
    assert all(len(page) <= limit for page in found)
    assert all(len(page) == limit for page in found[:-1])


@pytest.mark.parametrize("kind", KINDS)
def test_pages_stay_whole_while_others_write(product: Product, kind: str) -> None:
    """What was there from beginning to end comes exactly once."""
    made = make(product, kind, 6, product.tag)
    first = product.rest.get(kind, category=product.tag, limit=2)
    product.rest.delete(kind, made[-1])
    make(product, kind, 2, product.tag)
    rest = product.rest.get(kind, category=product.tag, limit=10, **{"continue": first["continue"]})
    found = [item["name"] for item in first["items"] + rest["items"]]
    assert [name for name in found if name in made] == made[::-1]


@pytest.mark.parametrize("kind", KINDS)
def test_by_category(product: Product, kind: str) -> None:
    mine = make(product, kind, 1, product.tag)
    make(product, kind, 1, f"{product.tag}-other")
    assert [item["name"] for item in product.rest.get(kind, category=product.tag)["items"]] == mine
    assert product.rest.get(kind, category="no such category")["items"] == []


@pytest.mark.parametrize("kind", [*KINDS, "pipelineruns"])
@pytest.mark.parametrize(
    "query",
    [{"limit": "0"}, {"limit": "-1"}, {"limit": "many"}, {"limit": "9" * 30}],
)
def test_a_wrong_limit(product: Product, kind: str, query: dict[str, str]) -> None:
    answer = product.rest.send("GET", f"/{kind}", params=query)
    assert answer.status_code in {200, 422}, answer.text
    if answer.status_code == 422:
        assert "limit" in answer.text


@pytest.mark.parametrize("kind", [*KINDS, "pipelineruns"])
@pytest.mark.parametrize("token", ["x", "🚀", "AAAA", "eyJhIjoxfQ==", "' or 1=1 --"])
def test_a_made_up_continue(product: Product, kind: str, token: str) -> None:
    answer = product.rest.send("GET", f"/{kind}", params={"continue": token})
    assert answer.status_code in {400, 410, 422}, answer.text


def ids(items: list[Any]) -> list[str]:
    return [item["instance_id"] for item in items]


class TestRuns:
    def test_by_pipeline_and_status(self, product: Product) -> None:
        planned = product.pipeline({"a": node()})
        other = product.run({"a": node()}, run=False)
        pending = [product.run_of(planned, run=False) for _ in range(2)]
        done = product.run_of(planned)
        done.wait("complete")
        listed = product.rest.get("pipelineruns", pipeline=planned.pipeline)["items"]
        assert ids(listed) == [done.id, pending[1].id, pending[0].id]
        by_status = product.rest.get("pipelineruns", pipeline=planned.pipeline, status="pending")[
            "items"
        ]
        assert ids(by_status) == [pending[1].id, pending[0].id]
        completed = product.rest.get("pipelineruns", pipeline=planned.pipeline, status="complete")
        assert ids(completed["items"]) == [done.id]
        assert other.id not in ids(listed)
        assert listed[0] == done.get()

    def test_an_unknown_status(self, product: Product) -> None:
        answer = product.rest.send("GET", "/pipelineruns", params={"status": "happy"})
        assert answer.status_code in {200, 422}, answer.text
        assert answer.status_code == 422 or answer.json()["items"] == []

    def test_by_category(self, product: Product) -> None:
        """A run has its pipeline's category."""
        run = product.run({"a": node()}, run=False)
        product.run({"a": node()}, run=False)
        found = product.rest.get("pipelineruns", category=product.category, limit=1)["items"]
        assert found
        assert product.rest.get("pipelineruns", category="no such category")["items"] == []
        assert run.id in ids(product.rest.get("pipelineruns", category=product.category)["items"])

    def test_pages(self, product: Product) -> None:
        planned = product.pipeline({"a": node()})
        made = [product.run_of(planned, run=False).id for _ in range(5)]
        found = pages(product, "pipelineruns", pipeline=planned.pipeline, limit=2)
        assert [len(page) for page in found] == [2, 2, 1]
        assert [run["instance_id"] for page in found for run in page] == made[::-1]

    def test_by_time(self, product: Product) -> None:
        """The filters for created before and after, by the names that OpenAPI gives them."""
        spec = product.rest.get("openapi.json")
        query = [p["name"] for p in spec["paths"]["/pipelineruns"]["get"]["parameters"]]
        before = next(name for name in query if "before" in name.lower())
        after = next(name for name in query if "after" in name.lower())
        planned = product.pipeline({"a": node()})
        runs = [product.run_of(planned, run=False) for _ in range(3)]
        times = [run.get()["created_at"] for run in runs]
        late = product.rest.get("pipelineruns", pipeline=planned.pipeline, **{after: times[1]})
        early = product.rest.get("pipelineruns", pipeline=planned.pipeline, **{before: times[1]})
        for item in late["items"]:
            assert item["created_at"] >= times[1]
        for item in early["items"]:
            assert item["created_at"] <= times[1]
        assert {*ids(late["items"]), *ids(early["items"]), runs[1].id} == {run.id for run in runs}
        far = {before: "2001-01-01T00:00:00Z"}
        assert product.rest.get("pipelineruns", pipeline=planned.pipeline, **far)["items"] == []
        product.rest.refuse("GET", "/pipelineruns", 422, params={after: "yesterday"})
