"""What the server tells about the layers around a step."""

import sys

import pytest

from xaas_local.layers import layers

pytestmark = pytest.mark.anyio


async def test_every_layer_is_named_with_its_state() -> None:
    told = await layers()
    assert sorted(told) == ["calls", "files", "itself", "limits"]
    assert told["limits"] == "in force"
    assert all(state.startswith(("in force", "not available")) for state in told.values())
    if not sys.platform.startswith("linux"):
        assert told["files"] == f"not available on {sys.platform}"
