"""The kinds in the chart are those of crds/, and an uninstall leaves them unless told otherwise."""

from tests.chart.kit.rendering import Json, read, render
from tests.cluster import places

ADDED = {"labels", "annotations"}


def written() -> dict[str, Json]:
    """The kinds as they are generated."""
    documents = [each for file in (places.ROOT / "crds").glob("*.yaml") for each in read(file)]
    return {each["metadata"]["name"]: each for each in documents}


def test_they_are_the_generated_ones() -> None:
    generated = written()
    assert len(generated) == 4
    rendered = {each["metadata"]["name"]: each for each in render().of("CustomResourceDefinition")}
    assert rendered.keys() == generated.keys()
    for name, each in rendered.items():
        assert {**each, "metadata": None} == {**generated[name], "metadata": None}
        for part, value in generated[name]["metadata"].items():
            found = each["metadata"][part]
            assert (value.items() <= found.items()) if part in ADDED else (value == found)


def test_they_stay_by_default() -> None:
    for values, kept in (({}, "keep"), ({"crds": {"keep": False}}, None)):
        for each in render(values).of("CustomResourceDefinition"):
            annotations = each["metadata"].get("annotations") or {}
            assert annotations.get("helm.sh/resource-policy") == kept


def test_somebody_else_may_bring_them() -> None:
    assert render({"crds": {"install": False}}).of("CustomResourceDefinition") == []
