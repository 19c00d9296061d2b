"""Plans, as a real API server keeps them."""

import uuid
from pathlib import Path

import pytest

from xaas_core.engine.plan import Plan, Step, TaskPlan
from xaas_kube import plan_objects
from xaas_kube.client import KubeClient
from xaas_kube.words import revisions

pytestmark = pytest.mark.anyio

ODD = "😀 \\ud83d\\ude00 \\\\😀 \x00\x7f\x85\ufeff\u2028 <a> & \"é\" 'タ' : - # \t\n\u200b"


@pytest.mark.parametrize(
    "text", [ODD, "yes", "0x1F", "~", "", "2001-01-01", " a ", "do\n" * 50_000]
)
async def test_any_text_comes_back_and_others_may_write_the_metadata(
    api_server: Path, text: str
) -> None:
    uid = str(uuid.uuid4())
    run = {"metadata": {"name": "r", "namespace": "default", "uid": uid}}
    plan = Plan("p", (TaskPlan(text or "t", text, steps=(Step(text, text),)),))
    client = await KubeClient.connect(api_server)
    try:
        made = await client.create_plainly(revisions("default"), plan_objects.new(run, plan))
        assert plan_objects.read(made) == plan
        where = revisions("default", made["metadata"]["name"])
        # As the garbage collector and kubectl do: what was read is sent back.
        changed = await client.patch(where, {"metadata": {"labels": {"a": "b"}}})
        assert plan_objects.read(changed) == plan
    finally:
        await client.close()
