"""Objects of the four kinds: the least that they may have, and all that they can have."""

from pathlib import Path
from typing import Any, Final

CRDS: Final = Path(__file__).parents[4] / "crds"
API_VERSION: Final = "xaas.dev/v1alpha1"

Json = dict[str, Any]


def made(kind: str, name: str, spec: Json, **further: Any) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
        **further,
    }


TASK: Final[Json] = {"category": "c", "steps": [{"doScript": "pass", "undoScript": "pass"}]}
PIPELINE: Final[Json] = {"category": "c", "tasks": [{"ref": "a", "name": "t", "dependsOn": []}]}
RUN: Final[Json] = {"name": "p", "parameters": {"vlan": 7, "ports": [1, {"deep": None}]}}
TASK_RUN: Final[Json] = {
    "run": {"name": "r", "uid": "0b1c"},
    "ref": "a",
    "processType": "do",
    "task": "t",
}
FULL_TASK: Final[Json] = TASK | {
    "name": "Task 1/é タスク",
    "timeout": "1h30m",
    "startTimeout": "0.5s",
    "gracePeriod": "100ms",
    "retries": {"limit": 3, "delay": "1s", "factor": 2, "maxDelay": "1m"},
    "image": "registry.example/runner:1",
    "resources": {"limits": {"memory": "512Mi", "cpu": 2}, "requests": {"cpu": "10m"}},
    "secrets": [{"name": "token", "secret": "device", "key": "token"}],
    "allowedImports": ["numpy"],
}
FULL_RUN: Final[Json] = RUN | {
    "timeout": "1h",
    "autoRollback": False,
    "onAbort": "terminate",
    "suspend": True,
    "ttlAfterFinished": "24h",
    "operation": {"name": "run", "id": "first"},
}
CONDITION: Final[Json] = {
    "type": "Succeeded",
    "status": "Unknown",
    "reason": "Processing",
    "message": "",
    "lastTransitionTime": "2026-01-02T03:04:05Z",
    "observedGeneration": 1,
}
FAILURE: Final[Json] = {
    "type": "KeyError",
    "message": "'vlan'",
    "step": 0,
    "line": 3,
    "traceback": ["line 3"],
}
RUN_STATUS: Final[Json] = {
    "observedGeneration": 1,
    "state": "processing",
    "reason": "",
    "message": "",
    "startedAt": "2026-01-02T03:04:05.678Z",
    "finishedAt": "2026-01-02T03:04:06.000Z",
    "tasks": {"total": 7, "pending": 3, "running": 1, "succeeded": 3, "failed": 0, "skipped": 0},
    "progress": "3/7",
    "planned": True,
    "operation": {
        "id": "first",
        "name": "run",
        "accepted": True,
        "state": "processing",
        "message": "",
    },
    "earlierOperations": [
        {
            "id": "zeroth",
            "name": "rollback",
            "accepted": False,
            "state": "pending",
            "message": "a run that is pending can't do rollback",
        },
    ],
    "warnings": [{"type": "ParamsConflict", "message": "m", "path": ["a"], "refs": ["x", "y"]}],
    "conditions": [CONDITION],
    "log": ['["processing",1767323045678]'],
}
TASK_RUN_STATUS: Final[Json] = {
    "state": "running",
    "reason": "",
    "message": "",
    "startedAt": "2026-01-02T03:04:05.678Z",
    "finishedAt": "2026-01-02T03:04:06.000Z",
    "conditions": [CONDITION],
    "verdict": {"round": 0, "value": True, "reason": "", "failure": FAILURE},
    "attempts": [
        {
            "number": 1,
            "round": 0,
            "decidedAt": 1767323045678,
            "order": [0],
            "launch": 1,
            "launchedAt": 1767323045679,
            "lost": 0,
            "undoes": 0,
            "trouble": "no node has room",
            "steps": [
                {
                    "index": 0,
                    "begunAt": 1767323045700,
                    "nonce": "n",
                    "runner": "u",
                    "finishedAt": 1767323045800,
                    "succeeded": False,
                    "delta": '[{"op":"set","path":["a"],"value":1.0}]',
                    "failure": FAILURE,
                    "reason": "ScriptError",
                }
            ],
            "stop": {"reason": "Terminated", "at": 1767323045900},
            "endedAt": 1767323045900,
            "succeeded": False,
            "reason": "ScriptError",
            "failure": FAILURE,
        }
    ],
}
