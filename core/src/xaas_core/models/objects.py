"""Stored objects: what a user wrote (`spec`), with what the product knows about it."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from xaas_core.engine.facts import Reply, Request
from xaas_core.engine.history import Change
from xaas_core.engine.states import Reason, RunState
from xaas_core.models.pipeline import PipelineSpec
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_core.models.pipeline_task import PipelineTaskSpec

S = TypeVar("S")
DefinitionSpec = PipelineTaskSpec | PipelineSpec


@dataclass(frozen=True)
class Meta:
    """Identity and version of an object.

    `resource_version` changes with every write, of spec or status; it is opaque. `created_at` is in
    milliseconds since 1970. `resource_name` is the Kubernetes object's name, None embedded.
    """

    uid: str
    namespace: str
    resource_version: str
    created_at: int
    resource_name: str | None = None
    deleting: bool = False


@dataclass(frozen=True)
class Definition(Generic[S]):
    """A stored PipelineTask or Pipeline."""

    meta: Meta
    spec: S


@dataclass(frozen=True)
class RunWarning:
    """Something that isn't an error and that a user should see, such as `ParamsConflict`."""

    type: str
    message: str
    path: tuple[str, ...] = ()
    refs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """The run's state in short, derived from its history and written together with it.

    `counts`: do task runs by state, and `total`. Times in milliseconds since 1970.
    """

    state: RunState = RunState.PENDING
    reason: Reason = Reason.NONE
    message: str = ""
    started_at: int | None = None
    finished_at: int | None = None
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RunStatus:
    """What the reconciler writes about a run. `planned`: its plan is made.

    `reply` answers the newest operation that was decided; `earlier` are the answers before it, the
    oldest first, as far as they are kept: who asked may look only after another one was answered.
    """

    summary: Summary = Summary()
    warnings: tuple[RunWarning, ...] = ()
    reply: Reply | None = None
    planned: bool = False
    earlier: tuple[Reply, ...] = ()

    def reply_to(self, request: str) -> Reply | None:
        """The answer to the request of this id, if it was given and is kept."""
        known = self.earlier if self.reply is None else (*self.earlier, self.reply)
        return next((reply for reply in known if reply.id == request), None)


@dataclass(frozen=True)
class Run:
    """A stored PipelineRun.

    `request` is the newest operation that was asked for; it waits while `status.reply` answers
    another id. `history` is empty where a list of runs was asked for. `problem` says why a run that
    got past the API isn't valid; such a run never starts. `unseen`: its spec was written after its
    status, which is to say so once it was looked at.
    """

    meta: Meta
    spec: PipelineRunSpec
    target: Target = Target.PIPELINE
    request: Request | None = None
    status: RunStatus = RunStatus()
    history: tuple[Change, ...] = ()
    problem: str = ""
    unseen: bool = False

    @property
    def pending_request(self) -> Request | None:
        """The operation that waits for its answer.

        One that was answered before is none: who applies a run's manifest again asks for it anew.
        """
        request = self.request
        return None if request is None or self.status.reply_to(request.id) else request
