"""Plans as ControllerRevisions: immutable by the API server's own rule, owned by their run.

A pipeline may use one PipelineTask a hundred times: its steps are written once.
"""

import json
from typing import Any, Final

from xaas_core.codec import Codec
from xaas_core.engine.plan import Plan
from xaas_kube.client import Json
from xaas_kube.names import plan_name
from xaas_kube.record_objects import owner
from xaas_kube.words import MANAGER, Label

_PLAN: Final = Codec(Plan)


def new(run: Json, plan: Plan) -> Json:
    """The object of a run's plan."""
    metadata = run["metadata"]
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": plan_name(metadata["uid"]),
            "namespace": metadata["namespace"],
            "labels": {Label.RUN.value: metadata["uid"], Label.MANAGED_BY.value: MANAGER},
            "ownerReferences": [owner(run)],
        },
        "revision": 1,
        "data": _shared(json.loads(_PLAN.encode(plan))),
    }


def read(item: Json) -> Plan:
    """The plan that an object holds."""
    data = item["data"]
    steps = data.get("steps", [])
    tasks = [
        {**task, "steps": steps[task["steps"]]} if "steps" in task else task
        for task in data["tasks"]
    ]
    return _PLAN.decode(json.dumps({"pipeline": data["pipeline"], "tasks": tasks}))


def _shared(plan: Any) -> Json:
    """The plan with each list of steps once, named by its position."""
    positions: dict[str, int] = {}
    tasks = []
    for task in plan["tasks"]:
        if "steps" in task:
            text = json.dumps(task["steps"])
            task = {**task, "steps": positions.setdefault(text, len(positions))}
        tasks.append(task)
    return {
        "pipeline": plan["pipeline"],
        "steps": [json.loads(text) for text in positions],
        "tasks": tasks,
    }
