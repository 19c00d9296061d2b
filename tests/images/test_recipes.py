"""What an image is made of, and when it is made again."""

import re
from pathlib import Path

import pytest
from tests.cluster import product_images
from tests.cluster.dockerfiles import Recipe
from tests.cluster.steps import ClusterFailure


@pytest.mark.parametrize("recipe", [product_images.RUNNER, product_images.SERVICE])
def test_a_dockerfile_begins_with_its_base(recipe: Recipe) -> None:
    first = recipe.dockerfile.read_text().splitlines()[0]
    assert re.fullmatch(r"ARG BASE=python:3\.\d+-slim", first)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """The recipe of an image of one folder."""
    (tmp_path / "Dockerfile").write_text("ARG BASE=b\nFROM ${BASE}\nCOPY src /app\n")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "one.py").write_text("1\n")
    return Recipe("localhost/one:1", tmp_path / "Dockerfile", tmp_path)


def test_an_image_is_another_when_what_it_copies_is(recipe: Recipe) -> None:
    before = recipe.key()
    (recipe.context / "src" / "one.py").write_text("2\n")
    changed = recipe.key()
    (recipe.context / "src" / "two.py").touch()
    added = recipe.key()
    recipe.dockerfile.write_text(recipe.dockerfile.read_text() + 'CMD ["x"]\n')
    assert len({before, changed, added, recipe.key()}) == 4


def test_an_image_stays_the_same_beside_all_else(recipe: Recipe) -> None:
    before = recipe.key()
    (recipe.context / "beside.py").touch()
    (recipe.context / "src" / "__pycache__").mkdir()
    (recipe.context / "src" / "__pycache__" / "one.cpython-311.pyc").touch()
    assert recipe.key() == before


def test_what_isnt_there_is_told(recipe: Recipe) -> None:
    recipe.dockerfile.write_text("ARG BASE=b\nFROM ${BASE}\nCOPY src gone /app/\n")
    with pytest.raises(ClusterFailure, match="copies gone, which isn't there"):
        recipe.key()


def test_what_another_stage_made_isnt_looked_for(recipe: Recipe) -> None:
    before = set(recipe.files())
    with recipe.dockerfile.open("a") as file:
        file.write("COPY --from=build /gone /app\n")
    assert set(recipe.files()) == before == {recipe.context / "src" / "one.py"}
