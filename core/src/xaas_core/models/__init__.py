"""The kinds that users write, as pydantic models: the one source of OpenAPI and the CRDs."""

from xaas_core.models.pipeline import PipelineSpec, PipelineTaskRef
from xaas_core.models.pipeline_run import PipelineRunSpec
from xaas_core.models.pipeline_task import PipelineTaskSpec, RetriesSpec, SecretSpec, StepSpec

__all__ = [
    "PipelineRunSpec",
    "PipelineSpec",
    "PipelineTaskRef",
    "PipelineTaskSpec",
    "RetriesSpec",
    "SecretSpec",
    "StepSpec",
]
