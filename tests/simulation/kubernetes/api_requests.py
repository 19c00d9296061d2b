"""What the API server makes of a request: its path, its selectors, its patches."""

import copy
import re
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote

from xaas_kube.client import ApiError, Json

_PATH = re.compile(
    r"/(?:api|apis/[^/]+)/v[^/]+(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<part>[a-z]+))?"
)

_TERM = re.compile(
    r"(?P<not>!)?(?P<key>[^\s,=!()]+)(?: in \((?P<values>[^)]*)\)|==?(?P<value>[^,]*))?"
)


class Place(NamedTuple):
    """What a path names. `namespace` None: all of them; `name` empty: the list."""

    resource: str
    namespace: str | None
    name: str
    part: str


def place_of(path: str) -> Place:
    """Read a path. Raises ApiError for one that the server doesn't know."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise ApiError(404, "NotFound", f"the server could not find {path}")
    namespace = found["namespace"]
    return Place(
        found["resource"],
        None if namespace is None else unquote(namespace),
        unquote(found["name"] or ""),
        found["part"] or "",
    )


@dataclass(frozen=True)
class Selector:
    """Label and field selectors, read."""

    wanted: tuple[tuple[str, frozenset[str] | None], ...] = ()  # None: with any value
    unwanted: tuple[str, ...] = ()
    name: str | None = None

    @classmethod
    def read(cls, params: Any) -> "Selector":
        """Of a request's parameters: `k`, `!k`, `k=v`, `k in (v,w)`, and `metadata.name=...`."""
        wanted: list[tuple[str, frozenset[str] | None]] = []
        unwanted: list[str] = []
        for term in _TERM.finditer(str((params or {}).get("labelSelector") or "")):
            if term["not"]:
                unwanted.append(term["key"])
            elif term["values"] is not None:
                wanted.append((term["key"], frozenset(term["values"].split(","))))
            else:
                wanted.append((term["key"], frozenset([term["value"]]) if term["value"] else None))
        name = None
        for each in filter(None, str((params or {}).get("fieldSelector") or "").split(",")):
            field, _, value = each.partition("=")
            if field == "metadata.name":
                name = value
        return cls(tuple(wanted), tuple(unwanted), name)

    def fits(self, metadata: Json) -> bool:
        """Whether an object is selected."""
        labels = metadata.get("labels") or {}
        if self.name is not None and metadata["name"] != self.name:
            return False
        if any(key in labels for key in self.unwanted):
            return False
        return all(
            key in labels and (values is None or labels[key] in values)
            for key, values in self.wanted
        )


def merged(item: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7386), applied."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(item) if isinstance(item, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def patched(item: Json, operations: Any) -> Json:
    """A JSON patch (RFC 6902: add, remove, replace, test), applied. Raises ApiError (422)."""
    result = copy.deepcopy(item)
    for operation in operations:
        *parents, last = [
            part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
        ]
        try:
            place: Any = result
            for part in parents:
                place = place[int(part)] if isinstance(place, list) else place[part]
            _apply(place, last, operation)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            text = "the server rejected our request due to an error in our request"
            raise ApiError(422, "Invalid", f"{text}: {error!r} in {operation}") from None
    return result


def _apply(place: Any, last: str, operation: Json) -> None:
    op, value = operation["op"], copy.deepcopy(operation.get("value"))
    if isinstance(place, list):
        if op == "add" and last == "-":
            place.append(value)
        elif op == "add":
            place.insert(int(last), value)
        elif op == "remove":
            del place[int(last)]
        else:
            place[int(last)] = value
        return
    if op != "add" and last not in place:
        raise KeyError(last)
    if op == "remove":
        del place[last]
    elif op == "test" and place[last] != value:
        raise ValueError("the test failed")
    elif op in ("add", "replace"):
        place[last] = value
