"""Files of definitions and runs, as documents in the shape that REST takes.

Two ways to write one, mixed as you like, several in one file:

* Kubernetes manifests: `apiVersion: xaas.dev/v1alpha1`, `kind`, `metadata`, `spec`. The name is
  `spec.name`, or `metadata.name` where there is none.
* Plain documents, as REST has them: with `steps` it is a PipelineTask, with `tasks` a Pipeline, with
  `parameters` a PipelineRun.

Only what decides *which* object is meant is judged here; the server judges the rest, and what it
names is traced back to the line of the file.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from xaas_cli import yaml_files
from xaas_cli.client import Json
from xaas_cli.failures import Misuse, Place

API_VERSION: Final = "xaas.dev/v1alpha1"
SUFFIXES: Final = (".yaml", ".yml", ".json")
STDIN: Final = "-"

ADDED: Final = frozenset({"resource_version", "created_at", "resource_name"})
"""Fields of an answer that the server adds to what was written."""


class Kind(StrEnum):
    """What a document can be, in the order in which documents are applied."""

    TASK = "PipelineTask"
    PIPELINE = "Pipeline"
    RUN = "PipelineRun"

    @property
    def collection(self) -> str:
        """The kind's name in a path of REST."""
        return f"{self.value.lower()}s"


_ORDER: Final = list(Kind)
_TELLING: Final = {"steps": Kind.TASK, "tasks": Kind.PIPELINE, "parameters": Kind.RUN}


@dataclass(frozen=True)
class Document:
    """One object to apply. `body` is REST's; `root` is where its fields are in the file.

    `label` is a run's own name (`metadata.name`), which makes applying it twice harmless.
    """

    kind: Kind
    body: Json
    source: str
    number: int
    content: yaml_files.Document
    root: yaml_files.Path = ()
    namespace: str | None = None
    label: str | None = None

    @property
    def name(self) -> str:
        """The object's name; a run's label, or its pipeline's."""
        return self.label or str(self.body["name"])

    def place(self, place: Place) -> str:
        """What the server found wrong, as file, line, document and field."""
        path = (*self.root, *yaml_files.path_of(place.place))
        line = self.content.line_of(path)
        if line is not None and place.line is not None and path in self.content.lines:
            line += place.line - 1
        where = f"{self.source}:{line}" if line is not None else self.source
        inner = f", line {place.line}" if place.line is not None else ""
        field = f" {place.place}{inner}:" if place.place else ""
        return f"{where}: document {self.number} ({self.kind} {self.name}):{field} {place.message}"


def load(sources: Iterable[str]) -> list[Document]:
    """The documents of files, folders (`*.yaml`, `*.yml`, `*.json` in them) and `-`, in the order to
    apply them: tasks, pipelines, runs. Raises Misuse if any can't be read."""
    documents = [
        document
        for source in sources
        for name, text in _texts(source)
        for document in parse(text, name)
    ]
    return sorted(documents, key=lambda document: _ORDER.index(document.kind))


def parse(text: str, source: str) -> Iterator[Document]:
    """Yield the documents of one file. Raises Misuse naming file, line, document and field."""
    for number, content in enumerate(yaml_files.read(text, source), 1):
        yield from _Reading(source, number, content).documents()


def as_written(definition: Json) -> Json:
    """A definition without what the server adds: what `xaas get -o yaml` prints can be applied."""
    return {field: value for field, value in definition.items() if field not in ADDED}


def load_object(source: str) -> Json:
    """The one JSON object in a YAML or JSON file (or `-`), such as a run's parameters."""
    values = [
        content.value for _, text in _texts(source) for content in yaml_files.read(text, source)
    ]
    if len(values) != 1 or not isinstance(values[0], dict):
        raise Misuse(f"{source}: must hold one object (`key: value` lines)")
    return values[0]


def _texts(source: str) -> Iterator[tuple[str, str]]:
    if source == STDIN:
        yield "stdin", sys.stdin.read()
        return
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        if not files:
            raise Misuse(f"{source}: no *.yaml, *.yml or *.json in this folder")
    else:
        files = [path]
    for file in files:
        try:
            yield str(file), file.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise Misuse(f"{file}: isn't UTF-8 text (byte {error.start})") from None
        except OSError as error:
            raise Misuse(f"{file}: {error.strerror}") from None


class _Reading:
    """One document of a file on its way to what it means."""

    def __init__(self, source: str, number: int, content: yaml_files.Document) -> None:
        self._source = source
        self._number = number
        self._content = content

    def documents(self) -> Iterator[Document]:
        value = self._content.value
        if not isinstance(value, dict):
            raise self._wrong((), f"must be an object, not {_a(value)}")
        if value.get("kind") == "List" and "items" in value:  # `kubectl get -o yaml` writes one
            for index, item in enumerate(self._list(value, ("items",))):
                if not isinstance(item, dict):
                    raise self._wrong(("items", index), f"must be an object, not {_a(item)}")
                yield self._manifest(item, ("items", index))
        elif "apiVersion" in value or "kind" in value:
            yield self._manifest(value, ())
        else:
            yield self._plain(value)

    def _manifest(self, value: Json, root: yaml_files.Path) -> Document:
        if value.get("apiVersion") != API_VERSION:
            found = f"not {value['apiVersion']!r}" if "apiVersion" in value else "and is missing"
            raise self._wrong((*root, "apiVersion"), f"must be {API_VERSION}, {found}")
        kind = self._kind(value, root)
        unknown = sorted(value.keys() - {"apiVersion", "kind", "metadata", "spec", "status"})
        if unknown:
            raise self._wrong(
                (*root, unknown[0]), "unknown field; a manifest has metadata and spec"
            )
        metadata = self._object(value, (*root, "metadata"))
        spec = dict(self._object(value, (*root, "spec")))
        label = self._text(metadata, (*root, "metadata", "name"))
        namespace = self._text(metadata, (*root, "metadata", "namespace"))
        if kind is Kind.RUN:
            spec = self._run(spec, (*root, "spec"))
        elif "name" not in spec and label is not None:
            spec = {**spec, "name": label}
        self._named(spec, (*root, "spec"))
        return Document(
            kind, spec, self._source, self._number, self._content, (*root, "spec"), namespace,
            label if kind is Kind.RUN else None,
        )  # fmt: skip

    def _kind(self, value: Json, root: yaml_files.Path) -> Kind:
        try:
            return Kind(str(value.get("kind")))
        except ValueError:
            found = f"not {value['kind']!r}" if "kind" in value else "and is missing"
            text = f"must be one of {', '.join(Kind)}, {found}"
            raise self._wrong((*root, "kind"), text) from None

    def _run(self, spec: Json, root: yaml_files.Path) -> Json:
        """A run's spec in REST's shape: its first operation is `run: true` there."""
        operation = spec.pop("operation", None)
        if operation is None:
            return spec
        if not isinstance(operation, dict) or operation.get("name") != "run":
            text = "only {name: run, …} can be applied; use `xaas cancel` and its like"
            raise self._wrong((*root, "operation"), text)
        return {**spec, "run": True}

    def _plain(self, value: Json) -> Document:
        kinds = [kind for field, kind in _TELLING.items() if field in value]
        if len(kinds) != 1:
            fields = ", ".join(sorted(value)[:6]) or "nothing"
            text = (
                "is neither a manifest (apiVersion, kind) nor a task (steps), a pipeline (tasks) or "
                f"a run (parameters); it has {fields}"
            )
            raise self._wrong((), text)
        self._named(value, ())
        return Document(kinds[0], as_written(value), self._source, self._number, self._content)

    def _named(self, body: Json, root: yaml_files.Path) -> None:
        if not self._text(body, (*root, "name")):
            raise self._wrong((*root, "name"), "is missing; every object needs a name")

    def _object(self, parent: Json, path: yaml_files.Path) -> Json:
        value = parent.get(str(path[-1]))
        if not isinstance(value, dict):
            found = f"must be an object, not {_a(value)}" if value is not None else "is missing"
            raise self._wrong(path, found)
        return value

    def _list(self, parent: Json, path: yaml_files.Path) -> list[Any]:
        value = parent.get(str(path[-1]))
        if not isinstance(value, list):
            raise self._wrong(path, f"must be a list, not {_a(value)}")
        return value

    def _text(self, parent: Json, path: yaml_files.Path) -> str | None:
        value = parent.get(str(path[-1]))
        if value is not None and not isinstance(value, str):
            raise self._wrong(path, f"must be text, not {value!r}; write it in quotes")
        return value

    def _wrong(self, path: yaml_files.Path, text: str) -> Misuse:
        line = self._content.line_of(path) or self._content.line
        field = f" {yaml_files.spelled(path)}:" if path else ""
        return Misuse(f"{self._source}:{line}: document {self._number}:{field} {text}")


def _a(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "nothing" if value is None else names.get(type(value), "a number")
