"""The chart as helm renders it."""

import json
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from tests.cluster.chart import CHART as CHART
from tests.cluster.chart import helm_program

KUBERNETES: Final = "1.34.0"
"""The version that is rendered for, where there is no cluster to ask."""

LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times as fast

Json = dict[str, Any]


class Refused(Exception):
    """helm said no; the message is what it said."""


def run(*words: str, values: Json | None = None) -> str:
    """What helm prints. Raises Refused."""
    options = () if values is None else ("--values=-",)
    done = subprocess.run(
        [str(helm_program()), *words, *options],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Refused(done.stderr or done.stdout)
    return done.stdout


@dataclass(frozen=True)
class Rendered:
    """The objects of one rendering."""

    objects: list[Json]
    namespace: str
    release: str
    values: Json = field(default_factory=dict)

    def of(self, *kinds: str) -> list[Json]:
        """The objects of some kinds, in the order in which they were rendered."""
        return [each for each in self.objects if each["kind"] in kinds]

    def one(self, kind: str, name: str) -> Json:
        """The only object of a kind and name."""
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found

    def names(self, kind: str) -> set[str]:
        """The names of all objects of a kind."""
        return {each["metadata"]["name"] for each in self.of(kind)}

    def config(self) -> Json:
        """The operator's settings."""
        text = self.one("ConfigMap", "xaas-pipeline-operator")["data"]["config.yaml"]
        settings: Json = yaml.safe_load(text)
        return settings

    def pods(self) -> Iterator[tuple[str, Json]]:
        """What each pod is called and its spec, hooks and tests included."""
        for each in self.of("Deployment", "Job", "Pod"):
            spec = each["spec"]
            yield (
                f"{each['kind']} {each['metadata']['name']}",
                spec if each["kind"] == "Pod" else spec["template"]["spec"],
            )


def render(
    values: Json | None = None, *, release: str = "xaas-pipeline", namespace: str = "xaas-system"
) -> Rendered:
    """Render the chart with some values. Raises Refused."""
    options = (f"--namespace={namespace}", f"--kube-version={KUBERNETES}")
    text = run("template", release, str(CHART), *options, values=values or {})
    objects = [each for each in yaml.load_all(text, LOADER) if each]
    return Rendered(objects, namespace, release, values or {})


def containers(pod: Json) -> list[Json]:
    """All containers of a pod, the evaluator among them."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def leaves(values: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each value that isn't an object with keys of the chart's own, by its path."""
    for key, value in values.items():
        here = (*path, key)
        if isinstance(value, dict) and value and key not in ("requests", "limits"):
            yield from leaves(value, here)
        else:
            yield here, value


def nested(path: Iterable[str], value: object) -> Json:
    """`a.b.c` and a value as values: {a: {b: {c: value}}}."""
    first, *rest = path
    return {first: nested(rest, value) if rest else value}


def default_values() -> Json:
    """The chart's values as they come."""
    values: Json = yaml.safe_load((CHART / "values.yaml").read_text())
    return values


def read(path: Path) -> list[Json]:
    """The documents of a YAML file."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each]
