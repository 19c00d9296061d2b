"""Names of objects on Kubernetes, derived from users' own names: the same on every replica.

A Kubernetes name is a DNS name; a user's may be anything. Where it isn't one, it is made of what can
be kept of it, with a digest behind that tells it from all others.
"""

import hashlib
import re
from typing import Final

from xaas_core.engine.states import Side

_DNS: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST: Final = 253
_SLUG: Final = 40
_DERIVED: Final = re.compile(r".*-[0-9a-f]{10}")


def digest(*parts: str, length: int = 10) -> str:
    """A digest of texts, as hexadecimal digits; different lists of texts have different ones."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()[:length]


def slug(text: str, longest: int = _SLUG) -> str:
    """What of `text` can stand in a Kubernetes name; may be empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:longest].strip("-")


def definition_name(name: str) -> str:
    """The object's name for a definition called `name`: the same, if it can be."""
    # One that looks derived is derived anew: it never takes the place of another's.
    if len(name) <= _LONGEST and _DNS.fullmatch(name) and not _DERIVED.fullmatch(name):
        return name
    return _joined(slug(name) or "x", digest(name))


def run_name(pipeline: str, chance: str) -> str:
    """The object's name for a new run; `chance` is a number drawn for it."""
    return _joined(slug(pipeline) or "run", chance)


def keyed_run_name(key: str) -> str:
    """The object's name for a run made with an Idempotency-Key: one key, one name, one run."""
    return f"run-{digest(key, length=32)}"


def task_run_name(run: str, uid: str, ref: str, side: Side) -> str:
    """The object's name for a task run of the run object `run`."""
    readable = f"{run[:180].rstrip('-.')}-{slug(ref) or 'x'}-{side}"
    return _joined(readable, digest(uid, ref, side, length=8))


def plan_name(uid: str) -> str:
    """The object's name for a run's plan."""
    return f"xaas-plan-{uid}"


def _joined(readable: str, tail: str) -> str:
    return f"{readable}-{tail}"
