"""The operator's settings: a YAML file, which the chart writes from its values.

Unknown keys are refused: a typo isn't lost. Durations are texts such as `30s`, `5m`, `1h30m`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from xaas_core.models.fields import Duration, Resources, milliseconds
from xaas_kube.jobs import USER, JobSettings


class SettingsError(ValueError):
    """A file that can't be used; the text says where and why."""


class _Settings(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )


class GatewaySettings(_Settings):
    """Where runners call."""

    service: str = "xaas-pipeline-gateway"
    """Name of the Service in front of all replicas; runners are told its address."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8082
    """Port of the Service, and of ours behind it."""
    key_secret: str = "xaas-pipeline-gateway-key"  # noqa: S105 - a name
    """Name of the Secret with the key that runners' tokens are signed with; made if missing."""


class WarmSettings(_Settings):
    """Runners that are up before there is work for them. Each holds what its task requests."""

    lookahead: Annotated[int, Field(ge=0)] = 10
    """How many, of all runs, may wait for their turn while what they depend on runs."""
    pool: Annotated[int, Field(ge=0)] = 0
    """How many, for each namespace and kind of task that was used lately, wait for any work."""
    max_wait: Duration = "10m"
    """How long one waits; then it leaves."""


class RunnerSettings(_Settings):
    """What the Jobs are like that run tasks."""

    image: str
    """The runner image; a task may name another one, built from it."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: list[str] = []
    run_as_user: Annotated[int, Field(ge=1)] | None = USER
    """User and group of the pods; None: the cluster assigns them."""
    resources: Resources = {}
    """Of tasks that name none of their own."""
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    priority_class_name: str = ""
    runtime_class_name: str = ""
    labels: dict[str, str] = {}
    """Labels of Jobs and pods, beside our own."""
    annotations: dict[str, str] = {}
    keep_finished: Duration = "1h"
    """How long a finished Job is kept, and with it the logs."""
    warm: WarmSettings = WarmSettings()

    def of_jobs(self) -> JobSettings:
        """As the launcher takes them."""
        return JobSettings(
            image=self.image,
            pull_policy=self.image_pull_policy,
            pull_secrets=tuple(self.image_pull_secrets),
            user=self.run_as_user,
            resources=self.resources,
            node_selector=self.node_selector,
            tolerations=tuple(self.tolerations),
            priority_class=self.priority_class_name,
            runtime_class=self.runtime_class_name,
            labels=self.labels,
            annotations=self.annotations,
            keep_finished=milliseconds(self.keep_finished) // 1000,
            lookahead=self.warm.lookahead,
            pool=self.warm.pool,
            max_wait=milliseconds(self.warm.max_wait) // 1000,
        )


class Settings(_Settings):
    """All of them."""

    namespace: str = ""
    """The operator's own namespace; that of its pod (POD_NAMESPACE) if empty."""
    lease: str = "xaas-pipeline-operator"
    """Name of the Lease by which the replicas agree who reconciles."""
    gateway: GatewaySettings = GatewaySettings()
    evaluator: Path = Path("/run/xaas/evaluator.sock")
    """Socket of the evaluator, a container beside ours."""
    runner: RunnerSettings
    allowed_imports: list[str] = []
    """Modules that every script may import beside the standard ones."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def read(cls, file: Path) -> Self:
        """The settings in `file`. Raises SettingsError."""
        try:
            content = yaml.safe_load(file.read_text("utf-8"))
            return cls.model_validate(content)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SettingsError(f"{file} can't be read: {error}") from None
        except ValidationError as error:
            told = "; ".join(
                f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}"
                for each in error.errors()
            )
            raise SettingsError(f"{file}: {told}") from None
