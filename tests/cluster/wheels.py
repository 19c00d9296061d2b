"""The packages an image installs, fetched by this machine's pip.

Inside a build by buildah nothing of the machine is known: neither a mirror nor an authority that its
pip is told of. So the wheels that fit the image's Python come from outside, and the Dockerfile's pip
installs from their folder. Hashes are checked in both places.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, cast

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.tags import platform_tags
from tests.cluster import places
from tests.cluster.steps import run, step

KEPT_FOLDERS: Final = 4


def fetched(requirements: Sequence[Path], python: str) -> Path:
    """A folder with the wheels that `requirements` pin, for Linux and Python `python` (like 3.11).

    Raises ClusterFailure if one can't be had, or isn't what its hash says.
    """
    text = "\n".join(file.read_text() for file in requirements)
    key = hashlib.sha256(f"{python}\n{text}".encode()).hexdigest()[:16]
    parent = places.cache_folder() / "wheels"
    folder = parent / key
    if not folder.exists():
        draft = parent / f"{key}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        listed = draft / "requirements.txt"
        listed.write_text("\n".join(dict.fromkeys(wanted(text, python))) + "\n")
        with step(f"Fetching wheels for Python {python}"):
            how = ["--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
            target = [f"--python-version={python}", "--implementation=cp"]
            target += [f"--platform={tag}" for tag in platform_tags()]
            what = [f"--requirement={listed}", f"--dest={draft}"]
            run([sys.executable, "-m", "pip", "download", *how, *target, *what])
        draft.rename(folder)
    os.utime(folder)
    kept = sorted(parent.iterdir(), key=lambda each: each.stat().st_mtime)
    for old in kept[:-KEPT_FOLDERS]:
        shutil.rmtree(old)
    return folder


def wanted(text: str, python: str) -> Iterator[str]:
    """The pins that count for `python`, without markers: pip would ask its own Python for those."""
    environment = cast("dict[str, str]", default_environment())
    environment["python_version"] = python
    environment["python_full_version"] = environment["implementation_version"] = f"{python}.0"
    for words in pins(text.splitlines()):
        told = [word for word in words if not word.startswith("--hash=")]
        hashes = [word for word in words if word.startswith("--hash=")]
        requirement = Requirement(" ".join(told))
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield " ".join([f"{requirement.name}{requirement.specifier}", *hashes])


def pins(lines: Iterable[str]) -> Iterator[list[str]]:
    """The words of each pin: one logical line, continued by backslashes."""
    words: list[str] = []
    for line in lines:
        if line.lstrip().startswith("#"):
            continue
        words += line.removesuffix("\\").split()
        if words and not line.endswith("\\"):
            yield words
            words = []
