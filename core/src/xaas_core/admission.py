"""What is refused when it is written, with the place and what to do.

Used by the API (a 422), by the gateway for child runs, and by the operator (`Ready=False`). The
models have already refused what a schema can; here is what needs the graph, the sandbox's policy
or other objects.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from xaas_core.engine import graph
from xaas_core.engine.params import encode
from xaas_core.models.objects import DefinitionSpec
from xaas_core.models.pipeline import PipelineSpec
from xaas_core.models.pipeline_run import PipelineRunSpec, Target
from xaas_core.models.pipeline_task import PipelineTaskSpec
from xaas_core.ports import (
    Evaluator,
    Kind,
    NotFound,
    Script,
    ScriptKind,
    Store,
    Unusable,
)

MAX_DEFINITIONS = 1024 * 1024
"""Largest sum of a pipeline and its tasks, as compact JSON: a plan must fit in one etcd object."""

WHOLE = "body"
"""The place of what is wrong with a body as a whole."""


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where: `place` is a path such as `steps[0].doScript`."""

    place: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        line = f", line {self.line}" if self.line is not None else ""
        return f"{self.place}{line}: {self.message}"


class Refused(Exception):
    """An object that can't be accepted."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


Placed = tuple[str, Script]
"""A source with its place."""


class Admission:
    """The checks. Each raises Refused, or Unavailable if it couldn't be checked.

    `allowed_imports` are modules that every script may import beside the standard ones.
    """

    def __init__(
        self, store: Store, evaluator: Evaluator, allowed_imports: Sequence[str] = ()
    ) -> None:
        self._store = store
        self._evaluator = evaluator
        self._allowed_imports = tuple(allowed_imports)

    def imports_of(self, task: PipelineTaskSpec) -> tuple[str, ...]:
        """What the scripts of a task may import beside the standard modules."""
        return tuple(dict.fromkeys((*(task.allowed_imports or ()), *self._allowed_imports)))

    async def admit(self, kind: Kind, namespace: str, spec: DefinitionSpec) -> None:
        """A definition that is about to be written."""
        if isinstance(spec, PipelineTaskSpec):
            await self._admit_task(spec)
        else:
            await self._admit_pipeline(namespace, spec)

    async def admit_run(self, namespace: str, spec: PipelineRunSpec, target: Target) -> None:
        """A run that is about to be created: everything it refers to must be there, and valid."""
        kind = Kind.TASK if target is Target.TASK else Kind.PIPELINE
        try:
            found = (await self._store.get_definition(kind, namespace, spec.name)).spec
        except NotFound as error:
            raise Refused(
                [Problem("name", _what_to_do(error, f"there is no {kind} {spec.name!r}"))]
            ) from None
        if isinstance(found, PipelineTaskSpec):
            pipeline, tasks = None, [found]
        else:
            pipeline = found
            missing, tasks = await self._tasks_of(namespace, pipeline)
            if missing:
                raise Refused([Problem("name", message) for message in missing])
        try:
            await self.admit_resolved(pipeline, tasks)
        except Refused as refused:
            what = f"the {kind} {spec.name!r} can't be used: "
            texts = [p.message if p.place == WHOLE else str(p) for p in refused.problems]
            raise Refused([Problem("name", what + text) for text in texts]) from None

    async def admit_resolved(
        self, pipeline: PipelineSpec | None, tasks: Sequence[PipelineTaskSpec]
    ) -> None:
        """What a run is about to be planned from, each definition once.

        It may have been written past the API, or by one that refused less.
        """
        placed: list[Placed] = []
        problems: list[Problem] = []
        if pipeline is not None:
            _check_graph(pipeline)
            placed += _conditions(pipeline)
        for task in tasks:
            of = f"PipelineTask {task.name!r}: "
            scripts = _scripts(task, self.imports_of(task))
            placed += [(of + place, script) for place, script in scripts]
            problems += [Problem(of + each.place, each.message) for each in _repeated_secrets(task)]
        _check_size(*tasks, *([] if pipeline is None else [pipeline]))
        await self._admit(problems, placed)

    async def _admit_task(self, spec: PipelineTaskSpec) -> None:
        _check_size(spec)
        await self._admit(_repeated_secrets(spec), _scripts(spec, self.imports_of(spec)))

    async def _admit_pipeline(self, namespace: str, spec: PipelineSpec) -> None:
        _check_graph(spec)
        _, tasks = await self._tasks_of(namespace, spec)
        _check_size(spec, *tasks)
        await self._admit([], _conditions(spec))

    async def _tasks_of(
        self, namespace: str, spec: PipelineSpec
    ) -> tuple[list[str], list[PipelineTaskSpec]]:
        """What is wrong with each PipelineTask that can't be used; and the others, each once."""
        missing: list[str] = []
        found: dict[str, PipelineTaskSpec | NotFound] = {}
        for task in spec.tasks:
            if task.name not in found:
                try:
                    definition = await self._store.get_definition(Kind.TASK, namespace, task.name)
                    assert isinstance(definition.spec, PipelineTaskSpec)
                    found[task.name] = definition.spec
                except NotFound as error:
                    found[task.name] = error
            of_task = found[task.name]
            if isinstance(of_task, NotFound):
                needs = f"task {task.ref!r} needs the PipelineTask {task.name!r}"
                absent = f"{needs}, which doesn't exist"
                missing.append(_what_to_do(of_task, absent, f"{needs}: "))
        return missing, [each for each in found.values() if not isinstance(each, NotFound)]

    async def _admit(self, problems: Sequence[Problem], placed: Sequence[Placed]) -> None:
        """Raises Refused with `problems` and with what is wrong with the scripts at their places."""
        scripts = [script for _, script in placed]
        findings = await self._evaluator.check(scripts) if scripts else []
        found = [
            Problem(place, finding.reason, finding.line)
            for (place, _), finding in zip(placed, findings, strict=True)
            if finding is not None
        ]
        if problems or found:
            raise Refused([*problems, *found])


def _what_to_do(error: NotFound, absent: str, place: str = "") -> str:
    """What a user is told of a definition that can't be used; `absent`, if there is none."""
    if isinstance(error, Unusable):
        return f"{place}{error}"
    return f"{absent}; create it first"


def _scripts(spec: PipelineTaskSpec, allowed: tuple[str, ...]) -> list[Placed]:
    return [
        (f"steps[{index}].{field}", Script(source, ScriptKind.SCRIPT, allowed))
        for index, step in enumerate(spec.steps)
        for field, source in (("doScript", step.do_script), ("undoScript", step.undo_script))
        if source is not None
    ]


def _conditions(spec: PipelineSpec) -> list[Placed]:
    return [
        (f"tasks[{index}].condition", Script(task.condition, ScriptKind.CONDITION))
        for index, task in enumerate(spec.tasks)
        if task.condition is not None
    ]


def _check_graph(spec: PipelineSpec) -> None:
    try:
        graph.check([(task.ref, task.depends_on) for task in spec.tasks])
    except graph.GraphError as error:
        index = max(i for i, task in enumerate(spec.tasks) if task.ref == error.ref)
        raise Refused([Problem(f"tasks[{index}].{error.field}", str(error))]) from None


def _check_size(*specs: DefinitionSpec) -> None:
    """A definition that a pipeline names more than once counts once: a plan holds it once, too."""
    size = sum(len(encode(spec.as_written()).encode()) for spec in specs)
    if size > MAX_DEFINITIONS:
        raise Refused([too_large(size)])


def too_large(size: int) -> Problem:
    """Definitions of `size` bytes are more than one pipeline may have."""
    text = f"the definitions take {size} bytes as JSON; one pipeline may have {MAX_DEFINITIONS}"
    return Problem(WHOLE, text)


def _repeated_secrets(spec: PipelineTaskSpec) -> list[Problem]:
    names = [secret.name for secret in spec.secrets or ()]
    return [
        Problem(f"secrets[{index}].name", f"{name!r} occurs more than once")
        for index, name in enumerate(names)
        if name in names[:index]
    ]
