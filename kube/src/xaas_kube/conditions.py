"""Conditions, as Kubernetes has them (KEP-1623)."""

import re
from typing import Any

from xaas_core.notices import rfc3339
from xaas_kube.client import Json

_LONGEST_MESSAGE = 32 * 1024


def condition(kind: str, status: str, reason: str, message: str, at: int) -> Json:
    """A condition that holds since `at` (milliseconds since 1970). Its times count in seconds."""
    word = re.sub(r"[^A-Za-z0-9_]", "", reason) or "Unknown"
    return {
        "type": kind,
        "status": status,
        "reason": word[:1].upper() + word[1:],
        "message": message[:_LONGEST_MESSAGE],
        "lastTransitionTime": rfc3339(at)[:-5] + "Z",
    }


def kept(new: Json, before: Any) -> Json:
    """`new`, holding since `before` did if its status is the same."""
    for old in before or ():
        if old.get("type") == new["type"] and old.get("status") == new["status"]:
            return {**new, "lastTransitionTime": old["lastTransitionTime"]}
    return new
