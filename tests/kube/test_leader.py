"""A leader that fails says why in one line, as its process does."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from xaas_core.ports import Unavailable
from xaas_kube.lease import Lost
from xaas_operator.replica import Leader, Place

pytestmark = pytest.mark.anyio

PLACE = Place(namespace="n", identity="i")


async def nothing() -> None:
    """Done at once."""


async def for_ever() -> None:
    """Never done."""
    await asyncio.Event().wait()


def leader(keep: Any, start_up: Any) -> Leader:
    """One whose Lease is kept by `keep`, and whose launcher starts up by `start_up`."""
    fakes: dict[str, Any] = dict.fromkeys(
        ("controller", "readiness", "recorder", "store", "pool"), SimpleNamespace()
    )
    lease: Any = SimpleNamespace(acquire=nothing, keep=keep, release=nothing)
    launcher: Any = SimpleNamespace(start_up=start_up, close=nothing)
    health: Any = SimpleNamespace(leads=False)
    return Leader(lease=lease, launcher=launcher, health=health, **fakes)


async def test_what_keeps_it_from_starting_is_told_as_itself() -> None:
    async def fails() -> None:
        raise Unavailable("the API server is away")

    with pytest.raises(Unavailable, match="the API server is away"):
        await leader(for_ever, fails).lead(PLACE)


async def test_a_lease_that_is_lost_is_what_counts() -> None:
    async def lost() -> None:
        raise Lost("somebody else's")

    with pytest.raises(Lost, match="another replica leads"):
        await leader(lost, for_ever).lead(PLACE)
