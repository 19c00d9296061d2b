"""YAML as people write it in manifests, read as what JSON can hold, with the line of every value.

PyYAML follows YAML 1.1, where `10:11:12:13:14:15` is a number in base 60, `010` is eight and
`2026-01-02` a date. None of them is meant in a manifest, and Kubernetes reads the first and the last
as text; here they are text, too. A key that occurs twice, a key that isn't text and a value that
JSON doesn't have are refused with their line.
"""

import math
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from xaas_cli.failures import Misuse

Path = tuple[str | int, ...]

_DROPPED: Final = ("int", "float", "timestamp", "merge", "value", "binary")
_PLAIN: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_STEP: Final = re.compile(r"\[(\d+)\]|\[(['\"])(.*?)\2\]|([^.\[\]]+)")


class _Loader(yaml.SafeLoader):
    """SafeLoader with the numbers of YAML 1.2 and nothing but JSON's types."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in {f"tag:yaml.org,2002:{name}" for name in _DROPPED}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(f"^(?:{_INTEGER.pattern})$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"^(?:{_FLOAT.pattern})$"), list("-+.0123456789")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])


def reads_as_number(text: str) -> bool:
    """Whether `text`, written without quotes, is a number here (PyYAML knows fewer of them)."""
    return bool(_INTEGER.fullmatch(text) or _FLOAT.fullmatch(text))


@dataclass(frozen=True)
class Document:
    """One document of a file: its value, the line it begins in, and where its values are."""

    value: Any
    line: int
    lines: dict[Path, int]

    def line_of(self, path: Path) -> int | None:
        """The line of the value at `path`, or of the nearest that contains it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def read(text: str, source: str) -> Iterator[Document]:
    """Yield the documents of a YAML (or JSON) text, empty ones left out.

    Raises Misuse naming `source` (the file), the line and what is wrong with it.
    """
    loader = _Loader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
                continue
            lines: dict[Path, int] = {}
            value = _Reader(loader, source, lines).value(node, ())
            yield Document(value, node.start_mark.line + 1, lines)
    except yaml.YAMLError as error:
        raise Misuse(f"{source}{_where(error)}: {_what(error)}") from None
    except RecursionError:
        raise Misuse(f"{source}: nested too deep, or an alias contains itself") from None
    finally:
        loader.dispose()


def path_of(place: str) -> Path:
    """`tasks[0].dependsOn[1]` as `("tasks", 0, "dependsOn", 1)`."""
    return tuple(
        int(match[1]) if match[1] else (match[3] if match[2] else match[4])
        for match in _STEP.finditer(place)
    )


def spelled(path: Path) -> str:
    """The opposite of `path_of`."""
    parts = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in path]
    return "".join(parts).removeprefix(".")


class _Reader:
    """Turns one document's nodes into values, noting the line of each.

    The line of a block of text (`|`, `>`) is that of its first line, so that "line 3 of the script"
    can be told as a line of the file.
    """

    def __init__(self, loader: _Loader, source: str, lines: dict[Path, int]) -> None:
        self._loader = loader
        self._source = source
        self._lines = lines

    def value(self, node: yaml.Node, path: Path) -> Any:
        is_block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
        self._lines[path] = node.start_mark.line + (2 if is_block else 1)
        plain = isinstance(node, yaml.ScalarNode) or node.tag in _PLAIN
        if not plain:
            raise self._wrong(node, path, f"is tagged {node.tag}, which JSON doesn't have")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind == "int" and _INTEGER.fullmatch(node.value):
            return _integer(node.value)
        if kind == "float" and _FLOAT.fullmatch(node.value):
            value = float(node.value)
            if math.isfinite(value):
                return value
        elif kind in ("str", "null", "bool"):
            return self._loader.construct_object(node)
        raise self._wrong(node, path, f"{node.value!r} is nothing that JSON has ({node.tag})")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        # Resolves `<<: *anchor`; what is written beside it wins, and comes last here.
        merged = len(node.value)
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            self._loader.flatten_mapping(node)
            merged = 0
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key: Hashable = self._loader.construct_object(key_node)
            if not isinstance(key, str):
                text = f"the key {key_node.value!r} isn't text; write it in quotes"
                raise self._wrong(key_node, path, text)
            if key in values and merged:
                raise self._wrong(key_node, path, f"the key {key!r} occurs twice")
            values[key] = self.value(value_node, (*path, key))
        return values

    def _wrong(self, node: yaml.Node, path: Path, text: str) -> Misuse:
        place = f" {spelled(path)}:" if path else ""
        return Misuse(f"{self._source}:{node.start_mark.line + 1}:{place} {text}")


def _integer(text: str) -> int:
    digits = text.lower().lstrip("+")
    if digits.startswith(("0x", "0o")):
        return int(digits, 0)
    return int(digits)


def _where(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f":{mark.line + 1}" if mark is not None else ""


def _what(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return ", ".join(part for part in (error.context, error.problem) if part)
    return str(error)
