"""What the images install is what `constraints.txt` pins: the same versions and hashes, no more."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.cluster.places import ROOT
from tests.cluster.wheels import pins, wanted

OWN = {"xaas-runner"}


def table(file: Path) -> dict[str, tuple[Requirement, frozenset[str]]]:
    """Each pinned package, with its requirement and its hashes."""
    found: dict[str, tuple[Requirement, frozenset[str]]] = {}
    for words in pins(file.read_text().splitlines()):
        hashes = frozenset(word for word in words if word.startswith("--hash="))
        requirement = Requirement(" ".join(word for word in words if word not in hashes))
        found[canonicalize_name(requirement.name)] = (requirement, hashes)
    return found


def project(file: str) -> dict[str, Any]:
    """A pyproject.toml."""
    return tomllib.loads((ROOT / file).read_text())


def names(requirements: list[str]) -> set[str]:
    """The packages that are required, less our own."""
    return {str(canonicalize_name(Requirement(each).name)) for each in requirements} - OWN


DIRECT = {
    "runner-image/requirements.txt": project("runner-image/pyproject.toml")["project"][
        "dependencies"
    ],
    "operator/requirements.txt": [
        *project("pyproject.toml")["project"]["dependencies"],
        *project("pyproject.toml")["project"]["optional-dependencies"]["server"],
        *project("pyproject.toml")["project"]["optional-dependencies"]["kubernetes"],
    ],
    "operator/requirements-build.txt": project("pyproject.toml")["dependency-groups"]["build"],
}


@pytest.mark.parametrize("file", DIRECT)
def test_an_image_gets_what_is_pinned(file: str) -> None:
    pinned, own = table(ROOT / "constraints.txt"), table(ROOT / file)
    for name, (requirement, hashes) in own.items():
        assert str(requirement.specifier) == str(pinned[name][0].specifier), f"{name}: make pins"
        assert hashes == pinned[name][1], f"{name}: make pins"
        assert hashes, name


@pytest.mark.parametrize(("file", "direct"), DIRECT.items())
def test_an_image_gets_what_it_needs(file: str, direct: list[str]) -> None:
    assert names(direct) - table(ROOT / file).keys() == set(), "make pins"


def test_nothing_for_tests_gets_into_the_service() -> None:
    own = table(ROOT / "operator/requirements.txt")
    dev = project("pyproject.toml")["dependency-groups"]["dev"]
    assert names(dev) & own.keys() == set()


def test_wheels_are_those_of_the_images_python() -> None:
    text = (
        "old==1 ; python_version < '3.12' \\\n    --hash=sha256:aa\n"
        "new==2 ; python_version >= '3.12' \\\n    --hash=sha256:bb\n"
        "win==3 ; sys_platform == 'win32' \\\n    --hash=sha256:cc\n"
        "# a comment\n"
        "all==4 \\\n    --hash=sha256:dd \\\n    --hash=sha256:ee\n"
    )
    assert [*wanted(text, "3.11")] == [
        "old==1 --hash=sha256:aa",
        "all==4 --hash=sha256:dd --hash=sha256:ee",
    ]
    assert [each.partition("==")[0] for each in wanted(text, "3.13")] == ["new", "all"]


def test_no_pin_names_an_address() -> None:
    for file in [*DIRECT, "constraints.txt", "tests/cluster/go-requirements.txt"]:
        assert not re.search(r"://|file:", (ROOT / file).read_text()), file
