"""What may not change in an object on Kubernetes, as CEL rules of the CRDs.

Rules that compare with the old object are checked on updates only. They stand above the field they
are about, for a rule at a field isn't checked when the field is added or removed; `fieldPath` names
the field in the message. `has` takes a null for absent.

The expressions cost little and don't loop: the API server estimates the cost of the worst object.
A loop over thousands of tasks is refused, and so is comparing optional values (`self.?x`), whose
size it doesn't know. What needs these is left to the operator.
"""

from collections.abc import Collection
from typing import Any, Final

Rule = dict[str, Any]
Schema = dict[str, Any]

_SAME: Final = "self.{0} == oldSelf.{0}"
_SAME_OR_ABSENT: Final = (
    "has(self.{0}) == has(oldSelf.{0}) && (!has(self.{0}) || self.{0} == oldSelf.{0})"
)
# Free-form content has no type in CEL, and `==` on it no bound that could be estimated; `in` has.
_SAME_CONTENT: Final = "dyn(self).{0} in [dyn(oldSelf).{0}]"
_EFFECTIVE: Final = "(has({0}.spec.name) ? {0}.spec.name : {0}.metadata.name)"


def immutable(spec: Schema, but: Collection[str], advice: str) -> list[Rule]:
    """Rules of a spec's structural schema: none of its fields may change, come or go, except `but`.

    `advice` ends the message: what to do. Raises TypeError for a field that no rule can compare.
    """
    return [
        {
            "rule": _unchanged(name, field, name in spec["required"]),
            "fieldPath": f".{name}",
            **_forbidden(f"{name} can't be changed; {advice}"),
        }
        for name, field in spec["properties"].items()
        if name not in but
    ]


def _unchanged(name: str, field: Schema, required: bool) -> str:
    if field.get("type") != "object" or "properties" in field:
        return (_SAME if required else _SAME_OR_ABSENT).format(name)
    if not required:
        raise TypeError(f"{name}: free-form content can be compared only where it is required")
    return _SAME_CONTENT.format(name)


def _forbidden(message: str) -> Rule:
    return {"reason": "FieldValueForbidden", "message": message}


SAME_NAME: Final[Rule] = {
    "rule": f"{_EFFECTIVE.format('self')} == {_EFFECTIVE.format('oldSelf')}",
    "fieldPath": ".spec.name",
    **_forbidden("the name can't be changed; create another object and delete this one"),
}
"""Of a definition: spec.name may be written out or left out as long as the name stays."""

NEW_ID: Final[Rule] = {
    "rule": (
        "!has(self.operation) || !has(oldSelf.operation)"
        " || self.operation.id != oldSelf.operation.id"
        " || self.operation.name == oldSelf.operation.name"
    ),
    "fieldPath": ".operation.id",
    **_forbidden("another operation needs another id"),
}
"""Of a run's spec: an operation is carried out once per id, so the old id would be ignored."""

ANSWERED_ID: Final[Rule] = {
    "rule": (
        "!has(self.spec.operation) || !has(self.status) || !has(self.status.operation)"
        " || self.status.operation.id != self.spec.operation.id"
        " || self.status.operation.name == self.spec.operation.name"
    ),
    "fieldPath": ".spec.operation.id",
    **_forbidden("another operation needs another id"),
}
"""Of a run: the same, of the operation that was answered last and taken out of the spec since."""

ONE_OPERATION: Final[Rule] = {
    "rule": (
        "!has(oldSelf.spec.operation)"
        " || (has(self.spec.operation) && self.spec.operation.id == oldSelf.spec.operation.id)"
        " || (has(self.status) && has(self.status.operation)"
        " && self.status.operation.id == oldSelf.spec.operation.id)"
    ),
    "fieldPath": ".spec.operation",
    "messageExpression": (
        "'OperationPending: ' + oldSelf.spec.operation.name"
        " + ' still waits for its answer in status.operation'"
    ),
    **_forbidden("OperationPending: the operation before still waits for its answer"),
}
"""Of a run: an operation is answered before the next one can take its place."""
