"""Structural schemas of Kubernetes, from pydantic models.

Theory of operation. Pydantic's JSON schema is rewritten into the subset that a CRD may have: no
references, every node with a type, no unions. A keyword that isn't known here raises, so that a model
can't come to mean less on Kubernetes than it says. Left out on purpose:

- `title`, which only repeats the field's name.
- `default`: a definition is the object as it was written. A default that the API server filled in
  would be seen as a change by everybody who compares it with a file. The product applies them, and
  the description tells them.
- `additionalProperties: false`: in a structural schema it is so without saying. Unknown fields are
  refused by clients that ask for it, which kubectl does, and pruned for others.

What a validator of the models refuses is said as far as a schema can (`_REFUSED_BY`); the rest is
found by the operator, which runs the models themselves.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from xaas_core.models.fields import check_duration, check_name, check_resources

Schema = dict[str, Any]

_TOLD: Final = "told"
"""A sentence that is added to the description."""

_DROPPED: Final = frozenset({"$defs", "$ref", "anyOf", "const", "default", "title", _TOLD})
_REWRITTEN: Final = frozenset({"additionalProperties", "items", "properties"})
_KEPT: Final = frozenset(
    {
        "description",
        "enum",
        "format",
        "maxItems",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "not",
        "nullable",
        "pattern",
        "required",
        "type",
    }
)

_PRESERVED: Final = {"x-kubernetes-preserve-unknown-fields": True}
_ANYTHING: Final = {**_PRESERVED, "nullable": True}
# Python's white space at the ends: the separators of Unicode, U+0085 and control characters, which
# are refused everywhere. In RE2, where \s is ASCII only.
_END: Final = r"[^\p{Z}\x00-\x1f\x7f\x85]"
_NAME: Final = {
    "pattern": rf"^{_END}([^\x00-\x1f\x7f]*{_END})?$",
    "not": {"enum": [".", ".."]},
}
_AMOUNTS: Final = {
    "type": "object",
    "additionalProperties": {"x-kubernetes-int-or-string": True, "nullable": True},
    "nullable": True,
}
_RESOURCES: Final = {
    "additionalProperties": False,
    "properties": {
        "limits": {**_AMOUNTS, "description": "The most that it gets: `cpu` and `memory`."},
        "requests": {**_AMOUNTS, "description": "What it surely gets: `cpu` and `memory`."},
    },
}

_REFUSED_BY: Final[Mapping[Callable[..., Any], Schema]] = {
    check_duration: {_TOLD: "For example 100ms, 30s, 5m or 1h30m."},
    check_name: _NAME,
    check_resources: _RESOURCES,
}
"""What of a validator's refusals a schema can say, and what its description should."""


class Structural(GenerateJsonSchema):
    """Pydantic's generator, which also says what our validators refuse."""

    def function_after_schema(
        self, schema: core_schema.AfterValidatorFunctionSchema
    ) -> JsonSchemaValue:
        """The schema before the validator, with what is known of the validator."""
        return super().function_after_schema(schema) | _REFUSED_BY.get(
            schema["function"]["function"], {}
        )


def structural(model: type[BaseModel], *, by_users: bool) -> Schema:
    """The structural schema of `model`.

    `by_users`: users write it. Then a null is kept where the model allows it (it is part of the
    object as written; elsewhere the API server drops it), and descriptions tell defaults. Raises
    TypeError for what a structural schema can't say.
    """
    schema = model.model_json_schema(schema_generator=Structural)
    return _Flattening(schema.get("$defs", {}), by_users).flat(schema, model.__name__)


class _Flattening:
    """One model's schema on its way; `place` is for messages."""

    def __init__(self, definitions: Mapping[str, Schema], by_users: bool) -> None:
        self._definitions = definitions
        self._by_users = by_users

    def flat(self, schema: Schema, place: str) -> Schema:
        """The structural form of one node and all below it. Raises TypeError."""
        schema = self._resolved(schema, place)
        unknown = [key for key in schema if not _is_known(key)]
        if unknown:
            raise TypeError(f"{place}: a structural schema has no {unknown[0]!r}")
        described = self._description(schema)
        made: Schema = {"description": described} if described else {}
        if "x-kubernetes-int-or-string" not in schema:
            made["type"] = schema.get("type")
        made |= {key: value for key, value in schema.items() if _is_kept(key) and key not in made}
        if "const" in schema:
            made["enum"] = [schema["const"]]
        match made.get("type"):
            case "object":
                made |= self._object(schema, place)
            case "array":
                made.setdefault("x-kubernetes-list-type", "atomic")
                made["items"] = self.flat(schema["items"], f"{place}[]")
            case "integer":
                made["format"] = "int64"  # without it, clients in other languages take 32 bits
            case "boolean" | "number" | "string":
                pass
            case None if "x-kubernetes-int-or-string" in made:
                pass
            case other:
                raise TypeError(f"{place}: a structural schema can't be of type {other!r}")
        return made

    def _description(self, schema: Schema) -> str:
        parts = [schema.get("description", ""), schema.get(_TOLD, "")]
        default = schema.get("default")
        if self._by_users and default not in (None, []):
            parts.append(
                f"Default: {default if isinstance(default, str) else json.dumps(default)}."
            )
        return _unwrapped(" ".join(part for part in parts if part))

    def _object(self, schema: Schema, place: str) -> Schema:
        made: Schema = {}
        more = schema.get("additionalProperties", False)
        fields = schema.get("properties", {})
        if more is True:
            # Atomic: of two who apply it one wins, their contents are never mixed.
            made["x-kubernetes-map-type"] = "atomic"
            # As values of a map, if that can be: what is unknown beside fields, CEL compares only
            # by half (it misses that a key took the place of another).
            made |= _PRESERVED if fields else {"additionalProperties": _ANYTHING}
        elif more is not False:
            made["x-kubernetes-map-type"] = "atomic"
            made["additionalProperties"] = self.flat(more, f"{place}{{}}")
        if fields:
            made["properties"] = {
                name: self.flat(field, f"{place}.{name}") for name, field in fields.items()
            }
        return made

    def _resolved(self, schema: Schema, place: str) -> Schema:
        """`schema` without `$ref` and `anyOf`; what stands beside them wins."""
        beside = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf")}
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            return self._resolved(self._definitions[name], place) | beside
        if "anyOf" in schema:
            others = [option for option in schema["anyOf"] if option != {"type": "null"}]
            if len(others) != 1 or len(schema["anyOf"]) != 2:
                raise TypeError(f"{place}: a structural schema has no unions of types")
            null = {"nullable": True} if self._by_users else {}
            return self._resolved(others[0], place) | beside | null
        return beside


def _is_kept(key: str) -> bool:
    return key in _KEPT or key.startswith("x-kubernetes-")


def _is_known(key: str) -> bool:
    return _is_kept(key) or key in _DROPPED or key in _REWRITTEN


def _unwrapped(text: str) -> str:
    """A docstring with each paragraph on one line: its reader's window breaks lines anew."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
