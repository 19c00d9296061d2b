"""A delta: from two states of `params` to the list of changes, and back.

`diff` compares what a script left with the state before; the gateway compares what all steps of a task
left with what the first one got. `apply` replays a delta: the oracle that `diff` is tested against.

Comparison is by what would be written as JSON: 1 is not 1.0 and not true, -0.0 is not 0.0. A list
is one value. Objects are compared key by key, however deep, because two branches of a pipeline
that edit different keys must both count.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from xaas_runner.contract import Bundle, DeltaOp
from xaas_runner.params import to_text


def diff(before: dict[str, Any], after: dict[str, Any]) -> list[DeltaOp]:
    """Return the changes that lead from `before` to `after`, both plain.

    A new object is recorded leaf by leaf (an empty one is a leaf), so that what another branch
    sets beside them survives; an object that is gone is one delete. `order` occurs only where
    the other changes alone would leave another order of keys than `after` has.
    """
    return list(changes(before, after))


def changes(
    before: dict[str, Any], after: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[DeltaOp]:
    """Yield what `diff` returns, one by one: deep paths can make the list far larger than its
    values, and whoever sends it wants to stop early."""
    for key in before:
        if key not in after:
            yield {"op": "delete", "path": [*path, key]}
    for key, new in after.items():
        here = (*path, key)
        old = before.get(key, _MISSING)
        if isinstance(new, dict) and isinstance(old, dict):
            yield from changes(old, new, here)
        elif old is _MISSING or not _same(old, new):
            yield from _leaves(new, here)
    left = [key for key in before if key in after] + [key for key in after if key not in before]
    if left != list(after):
        yield {"op": "order", "path": [*path], "keys": list(after)}


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[DeltaOp]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, key))
    else:
        yield {"op": "set", "path": [*path], "value": value}


def bundled(delta: Iterable[DeltaOp]) -> list[DeltaOp | Bundle]:
    """Return a delta that `changes` made in as few changes as can be, for the way to the gateway.

    No path of it is a part of another's, so sets and deletes may change places; and the tree of
    values keeps the order in which keys were set. The order of keys is set right at the end.
    """
    values: dict[str, Any] = {}
    keys: dict[str, Any] = {}
    orders: list[DeltaOp | Bundle] = []
    for op in delta:
        if op["op"] == "order":
            orders.append(op)
            continue
        tree, leaf = (values, op["value"]) if op["op"] == "set" else (keys, None)
        for key in op["path"][:-1]:
            tree = tree.setdefault(key, {})
        tree[op["path"][-1]] = leaf
    bundles: list[DeltaOp | Bundle] = []
    if keys:
        bundles.append({"op": "deletes", "keys": keys})
    if values:
        bundles.append({"op": "sets", "values": values})
    return bundles + orders


def _same(old: Any, new: Any) -> bool:
    if type(old) is not type(new):
        return False
    if isinstance(new, str | bool) or new is None:
        return bool(old == new)
    # As JSON text: strict about the types inside lists, about -0.0 and about the order of keys.
    return to_text(old) == to_text(new)


def apply(params: dict[str, Any], delta: list[DeltaOp]) -> dict[str, Any]:
    """Apply a delta in place, and return `params`: the meaning of contract.py's text."""
    for op in delta:
        path = op["path"]
        if op["op"] == "order":
            _reorder(params, path, op["keys"])
            continue
        target = params
        for key in path[:-1]:
            inner = target.get(key)
            if not isinstance(inner, dict):
                if op["op"] == "delete":
                    break
                inner = target[key] = {}
            target = inner
        else:
            if op["op"] == "set":
                target[path[-1]] = op["value"]
            else:
                target.pop(path[-1], None)
    return params


def _reorder(params: dict[str, Any], path: list[str], keys: list[str]) -> None:
    target: Any = params
    for key in path:
        target = target.get(key) if isinstance(target, dict) else None
    if isinstance(target, dict):
        ordered = {key: target[key] for key in keys if key in target}
        rest = {key: value for key, value in target.items() if key not in ordered}
        target.clear()
        target.update(ordered)
        target.update(rest)


class _Missing:
    """Stands for "no such key": None is a value."""


_MISSING: Final = _Missing()
