"""Definitions as objects: what isn't in the contract tests, which need a store."""

from typing import Any

from xaas_core.models.pipeline_task import PipelineTaskSpec
from xaas_core.ports import Kind
from xaas_kube import definition_objects

NOW = "2026-01-02T03:04:05.678000000Z"


def stored(**more: Any) -> dict[str, Any]:
    """A task's object as the API server has it."""
    written = {"category": "c", "name": "t", "steps": [], **more}
    spec = PipelineTaskSpec.model_validate(written)
    item = definition_objects.new(Kind.TASK, "t", spec, NOW)
    item["metadata"] |= {
        "uid": "6e1f0c52-6b2e-4c62-9a53-0a2f52a4d1f0",
        "namespace": "default",
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-02T03:04:06Z",
    }
    return item


def test_amounts_are_stored_as_the_schema_has_them_and_come_back_as_written() -> None:
    resources = {"limits": {"cpu": 0.5, "memory": 2**62, "a/b": 1.0, "a/a": None, "a/c": 2**70}}
    item = stored(resources=resources)
    limits = item["spec"]["resources"]["limits"]
    assert all(held is None or type(held) in (str, int) for held in limits.values())
    assert limits["memory"] == 2**62
    spec = definition_objects.read(Kind.TASK, item).spec
    assert isinstance(spec, PipelineTaskSpec)
    assert repr(spec.resources) == repr(resources)
    limits["cpu"] = "2"  # somebody edits it
    spec = definition_objects.read(Kind.TASK, item).spec
    assert isinstance(spec, PipelineTaskSpec)
    assert spec.resources is not None
    assert spec.resources["limits"]["cpu"] == "2"
