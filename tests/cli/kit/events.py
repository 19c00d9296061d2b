"""A run as its server tells of it: events, and answers."""

from typing import Any

RUN = "r"


def at(ms: int) -> str:
    return f"2026-01-02T03:04:05.{ms:03}Z"


def run(status: str, **fields: Any) -> dict[str, Any]:
    return {"name": "p", "status": status, "reason": None, **fields}


def task(ref: str, status: str, side: str = "do", **fields: Any) -> dict[str, Any]:
    return {"ref": ref, "name": f"task-{ref}", "process_type": side, "status": status, **fields}


class Events:
    """Events of one run, numbered, one millisecond each."""

    def __init__(self) -> None:
        self.sequence = 0

    def _event(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        self.sequence += 1
        return {
            "event": kind,
            "content": content,
            "time": at(self.sequence),
            "sequence": self.sequence,
        }

    def run(self, status: str, id: str = RUN) -> dict[str, Any]:
        return self._event("Pipeline", {"instance_id": id, "name": "p", "status": status})

    def task(self, ref: str, status: str, side: str = "do") -> dict[str, Any]:
        content = {"ref": ref, "name": f"task-{ref}", "process_type": side, "status": status}
        return self._event("PipelineTask", content | {"owner_id": RUN})
