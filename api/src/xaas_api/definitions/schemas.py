"""Definitions as they come back: as written, with version and time."""

from typing import Annotated, Any, Final

from pydantic import Field

from xaas_api.schemas import ItemsPage, Time
from xaas_core.models.objects import Definition, DefinitionSpec
from xaas_core.models.pipeline import PipelineSpec
from xaas_core.models.pipeline_task import PipelineTaskSpec
from xaas_core.notices import rfc3339


class PipelineTask(PipelineTaskSpec):
    """A PipelineTask as it is stored."""

    resource_version: Annotated[str, Field(alias="resource_version")]
    """Changes with every write; also the ETag."""
    created_at: Annotated[Time, Field(alias="created_at")]


class Pipeline(PipelineSpec):
    """A Pipeline as it is stored."""

    resource_version: Annotated[str, Field(alias="resource_version")]
    """Changes with every write; also the ETag."""
    created_at: Annotated[Time, Field(alias="created_at")]


class PipelineTaskPage(ItemsPage):
    """A page of PipelineTasks, newest first."""

    items: list[PipelineTask]


class PipelinePage(ItemsPage):
    """A page of Pipelines, newest first."""

    items: list[Pipeline]


def view(definition: Definition[DefinitionSpec]) -> dict[str, Any]:
    """A definition's answer."""
    return definition.spec.as_written() | {
        "resource_version": definition.meta.resource_version,
        "created_at": rfc3339(definition.meta.created_at),
    }


TASK_EXAMPLE: Final = {
    "category": "network",
    "name": "add-vlan",
    "steps": [
        {
            "doScript": "params['added'] = [*params.get('added', []), params['vlan']]",
            "undoScript": "params['added'] = []",
        }
    ],
}

PIPELINE_EXAMPLE: Final = {
    "category": "network",
    "name": "deploy",
    "tasks": [
        {"ref": "first", "name": "add-vlan", "dependsOn": []},
        {
            "ref": "second",
            "name": "add-vlan",
            "dependsOn": ["first"],
            "condition": "params['vlan'] > 1",
        },
    ],
}

STORED: Final = {"resource_version": "1", "created_at": "2026-01-02T03:04:05.678Z"}
