"""Plans as ControllerRevisions: immutable by the API server's own rule, owned by their run."""

import json

from xaas_core import plan_text
from xaas_core.engine.plan import Plan
from xaas_kube.client import Json
from xaas_kube.names import plan_name
from xaas_kube.record_objects import owner
from xaas_kube.words import MANAGER, Label


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
        "data": json.loads(plan_text.encode(plan)),
    }


def read(item: Json) -> Plan:
    """The plan that an object holds."""
    return plan_text.decode(json.dumps(item["data"]))
