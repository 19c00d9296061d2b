"""Shapes of pipelines of any size, all of the one empty task of `tutorial`."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.tutorial import DAG, TASK

Needs = Mapping[str, Sequence[str]]


def chain(tasks: int) -> Needs:
    """One after the other."""
    return {str(n): (str(n - 1),) if n else () for n in range(tasks)}


def fan(tasks: int) -> Needs:
    """One, then all the others but one side by side, then the last."""
    middle = tuple(map(str, range(1, tasks - 1)))
    return {"0": (), **dict.fromkeys(middle, ("0",)), str(tasks - 1): middle}


TEN: Needs = {ref: needs for ref, needs in DAG.items() if ref != "11"}
"""Ten tasks as pipelines have them, some at a time: the tutorial without its last."""

SHAPES = {"chain": chain, "fan": fan}


def pipeline(name: str, needs: Needs) -> dict[str, Any]:
    """The Pipeline of that name and shape."""
    tasks = [{"ref": r, "name": TASK["name"], "dependsOn": list(n)} for r, n in needs.items()]
    return {"category": "bench", "name": name, "tasks": tasks}
