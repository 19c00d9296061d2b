"""Plans: the definitions of a run, resolved once into an immutable snapshot.

The reconciler plans, when it first sees a run; if it doesn't come to that in time, whoever has created
the run. From then on the run works on the snapshot: an edited or deleted definition changes nothing
under way.
"""

from dataclasses import replace
from typing import Final

from xaas_core.admission import Admission, Refused
from xaas_core.engine.plan import Plan, SecretRef, Step, TaskPlan
from xaas_core.engine.retry import Retries
from xaas_core.engine.states import Reason
from xaas_core.models.fields import milliseconds, optional_milliseconds
from xaas_core.models.objects import Run
from xaas_core.models.pipeline import PipelineSpec, PipelineTaskRef
from xaas_core.models.pipeline_run import Target
from xaas_core.models.pipeline_task import PipelineTaskSpec, RetriesSpec
from xaas_core.ports import Conflict, Kind, NotFound, Store, Writes

TRIES: Final = 5
"""Plans that are written at most; each in vain means that the run was written meanwhile."""

NOT_PLANNABLE: Final = frozenset({Reason.DEFINITION_MISSING, Reason.INVALID})
"""Why a run is still pending, whatever was asked of it."""


class NotPlannable(Exception):
    """What the run needs isn't there, or isn't valid; the text names it. It may yet become so."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


async def plan_instead(store: Store, admission: Admission, uid: str) -> None:
    """Plan a run that nobody has planned yet, so that it doesn't work on later definitions.

    Whoever reconciles it finds the plan. Raises NotFound, Unavailable.
    """
    for _ in range(TRIES):
        run = await store.get_run(uid)
        needs_none = run.status.planned or run.history or run.meta.deleting
        if needs_none or await store.plan(uid) is not None:
            return
        try:
            plan = await make_plan(store, admission, run)
            await store.commit(Writes(run, plan))
        except NotPlannable:
            return  # what is missing is told when it is reconciled
        except Conflict:
            continue
        return


async def make_plan(store: Store, admission: Admission, run: Run) -> Plan:
    """Resolve the definitions of `run`. Raises NotPlannable."""
    namespace, name = run.meta.namespace, run.spec.name
    if run.problem:
        raise NotPlannable(Reason.INVALID, run.problem)
    try:
        if run.target is Target.TASK:
            task = await _task(store, namespace, name)
            await admission.admit_resolved(None, [task])
            entry = PipelineTaskRef(ref=name, name=name)
            return Plan(name, (_entry(entry, _definition(task, admission)),))
        pipeline = (await store.get_definition(Kind.PIPELINE, namespace, name)).spec
        assert isinstance(pipeline, PipelineSpec)
        tasks: dict[str, PipelineTaskSpec] = {}
        for entry in pipeline.tasks:
            if entry.name not in tasks:
                tasks[entry.name] = await _task(store, namespace, entry.name)
        await admission.admit_resolved(pipeline, list(tasks.values()))
    except NotFound as error:
        raise NotPlannable(Reason.DEFINITION_MISSING, str(error)) from None
    except Refused as error:
        raise NotPlannable(Reason.INVALID, str(error)) from None
    definitions = {each: _definition(task, admission) for each, task in tasks.items()}
    return Plan(name, tuple(_entry(entry, definitions[entry.name]) for entry in pipeline.tasks))


async def _task(store: Store, namespace: str, name: str) -> PipelineTaskSpec:
    found = (await store.get_definition(Kind.TASK, namespace, name)).spec
    assert isinstance(found, PipelineTaskSpec)
    return found


def _definition(task: PipelineTaskSpec, admission: Admission) -> TaskPlan:
    """A PipelineTask, for all entries that name it."""
    return TaskPlan(
        ref="",
        task=task.name,
        steps=tuple(Step(step.do_script, step.undo_script) for step in task.steps),
        timeout=optional_milliseconds(task.timeout),
        start_timeout=milliseconds(task.start_timeout),
        grace_period=milliseconds(task.grace_period),
        retries=_retries(task.retries),
        image=task.image,
        resources=task.resources or {},
        secrets=tuple(SecretRef(s.name, s.secret, s.key) for s in task.secrets or ()),
        allowed_imports=admission.imports_of(task),
    )


def _entry(entry: PipelineTaskRef, definition: TaskPlan) -> TaskPlan:
    """One entry with its PipelineTask; the entry's timeout and retries win."""
    timeout, retries = definition.timeout, definition.retries
    return replace(
        definition,
        ref=entry.ref,
        depends_on=tuple(entry.depends_on),
        condition=entry.condition,
        timeout=timeout if entry.timeout is None else milliseconds(entry.timeout),
        retries=retries if entry.retries is None else _retries(entry.retries),
    )


def _retries(spec: RetriesSpec | None) -> Retries:
    if spec is None:
        return Retries()
    return Retries(
        limit=spec.limit,
        delay=milliseconds(spec.delay),
        factor=spec.factor,
        max_delay=optional_milliseconds(spec.max_delay),
    )
