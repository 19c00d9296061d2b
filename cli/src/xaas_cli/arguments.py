"""What users write behind `-p` and its like, as values."""

import json
from collections.abc import Iterable
from typing import Any

from xaas_cli.client import Json
from xaas_cli.failures import Misuse


def parameters(written: Iterable[str], given: Json | None = None) -> Json:
    """`key=text` and `key:=JSON` over what is `given`, as an object. Raises Misuse."""
    values = dict(given or {})
    for item in written:
        key, value = _one(item)
        values[key] = value
    return values


def _one(item: str) -> tuple[str, Any]:
    left, equals, text = item.partition("=")
    is_json = left.endswith(":")
    key = left.removesuffix(":")
    if not equals or not key:
        raise Misuse(f"-p {item}: write -p key=text, or -p key:=JSON for a number, a list, …")
    if not is_json:
        return key, text
    try:
        return key, json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise Misuse(
            f"-p {item}: {text!r} isn't JSON ({error}); for text write -p {key}={text}"
        ) from None


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")
