"""Kubernetes quantities: `512Mi`, `1.5Gi`, `500m`, `2`, `1e3`."""

import re
from decimal import Decimal
from typing import Any, Final

_QUANTITY: Final = re.compile(
    r"([+]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30}))"
    r"(?:(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE])|[eE]([+-]?[0-9]{1,2}))?"
)
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def quantity(value: Any) -> Decimal:
    """The number that a quantity means; a plain number is one too. Raises ValueError."""
    text = str(value) if isinstance(value, (str, int, float)) else ""
    match = _QUANTITY.fullmatch(text)
    if match is None or isinstance(value, bool):
        raise ValueError(f"{value!r} is no quantity; write for example 512Mi, 1Gi, 500m or 2")
    number, suffix, exponent = match.groups()
    if exponent:
        return Decimal(number).scaleb(int(exponent))
    if suffix in _BINARY:
        return Decimal(number) * Decimal(1024) ** _BINARY[suffix]
    return Decimal(number).scaleb(_DECIMAL.get(suffix, 0))
