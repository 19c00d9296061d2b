"""What kubectl shows."""

from collections.abc import Sequence

import pytest
from tests.kube.crds.kit.documents import (
    CONDITION,
    FULL_RUN,
    FULL_TASK,
    PIPELINE,
    RUN_STATUS,
    TASK_RUN,
    TASK_RUN_STATUS,
    made,
)
from tests.kube.crds.kit.kubectl import Kubectl

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def shown(kubectl: Kubectl) -> Kubectl:
    """One object of each kind, as the product leaves them."""
    ready = CONDITION | {
        "type": "Ready",
        "status": "False",
        "reason": "NameTaken",
        "message": "another has it",
    }
    for kind, spec in (("Pipeline", PIPELINE), ("PipelineTask", FULL_TASK)):
        kubectl.create(made(kind, "shown", spec)).ok()
        status = {"observedGeneration": 1, "conditions": [ready]}
        kubectl.merge(kind, "shown", {"status": status}, "--subresource=status").ok()
    kubectl.create(made("PipelineRun", "shown", FULL_RUN)).ok()
    status = RUN_STATUS | {"reason": "Requested", "message": "as asked"}
    kubectl.merge("plr", "shown", {"status": status}, "--subresource=status").ok()
    status = TASK_RUN_STATUS | {"reason": "Timeout", "message": "too long"}
    kubectl.create(made("PipelineTaskRun", "shown", TASK_RUN, status=status)).ok()
    return kubectl


def row(kubectl: Kubectl, kind: str, *words: str) -> dict[str, str]:
    """The row of `shown`, by column. Columns are as wide as their header says."""
    header, line = kubectl("get", kind, "shown", *words).ok().splitlines()
    starts = [
        index
        for index, char in enumerate(header)
        if char != " " and (index == 0 or header[index - 1] == " ")
    ]
    ends = [*starts[1:], None]
    return {
        header[start:end].strip(): line[start:end].strip()
        for start, end in zip(starts, ends, strict=True)
    }


class TestShown:
    @pytest.mark.parametrize("kind", ["pl", "plt"])
    def test_definitions(self, shown: Kubectl, kind: str) -> None:
        columns = row(shown, kind)
        assert list(columns) == ["NAME", "READY", "REASON", "CATEGORY", "AGE"]
        assert [columns["READY"], columns["REASON"], columns["CATEGORY"]] == [
            "False",
            "NameTaken",
            "c",
        ]
        wide = row(shown, kind, "--output=wide")
        assert wide["MESSAGE"] == "another has it"
        assert set(wide) - set(columns) == {"SPEC-NAME", "MESSAGE"}

    def test_runs(self, shown: Kubectl) -> None:
        columns = row(shown, "plr")
        assert list(columns) == ["NAME", "PIPELINE", "STATE", "TASKS", "STARTED", "REASON", "AGE"]
        assert [columns[n] for n in ("PIPELINE", "STATE", "TASKS", "REASON")] == [
            "p",
            "processing",
            "3/7",
            "Requested",
        ]
        assert columns["STARTED"]
        wide = row(shown, "plr", "--output=wide")
        assert set(wide) - set(columns) == {"FINISHED", "SUSPENDED", "MESSAGE"}
        assert wide["SUSPENDED"] == "true"

    def test_task_runs(self, shown: Kubectl) -> None:
        columns = row(shown, "pltr")
        assert list(columns) == ["NAME", "RUN", "REF", "TYPE", "STATE", "STARTED", "REASON", "AGE"]
        assert [columns[n] for n in ("RUN", "REF", "TYPE", "STATE", "REASON")] == [
            "r",
            "a",
            "do",
            "running",
            "Timeout",
        ]
        wide = row(shown, "pltr", "--output=wide")
        assert set(wide) - set(columns) == {"FINISHED", "TASK", "MESSAGE"}

    def test_all_kinds_at_once(self, shown: Kubectl) -> None:
        by_short_names = shown("get", "pl,plt,plr,pltr").ok()
        for kind in ("pipeline", "pipelinetask", "pipelinerun", "pipelinetaskrun"):
            assert f"{kind}.xaas.dev/shown" in by_short_names
        by_category = shown("get", "xaas", "--output=name").ok().split()
        assert {"pipeline.xaas.dev/shown", "pipelinetaskrun.xaas.dev/shown"} <= set(by_category)

    @pytest.mark.parametrize(
        ("kind", "selector", "other"),
        [
            ("pl", "spec.category=c", "spec.category=d"),
            ("plt", f"spec.name={FULL_TASK['name']}", "spec.name=shown"),
            ("plr", "spec.name=p,status.state=processing", "spec.name=p,status.state=aborted"),
            ("pltr", "spec.run.name=r,spec.ref=a,spec.processType=do", "status.state=failed"),
        ],
    )
    def test_selected_by_fields(self, shown: Kubectl, kind: str, selector: str, other: str) -> None:
        found = shown("get", kind, f"--field-selector={selector}", "--output=name").ok()
        assert "/shown" in found
        found = shown("get", kind, f"--field-selector={other}", "--output=name").ok()
        assert "/shown" not in found

    def test_waiting_for_a_condition(self, shown: Kubectl) -> None:
        words = ("--for=condition=Succeeded=Unknown", "--timeout=5s")
        shown("wait", "plr/shown", *words).ok()

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("plr", ["One execution of a Pipeline"]),
            ("plr.spec.operation", ["-required-", "run, cancel, recovery, rollback", "no earlier"]),
            ("plr.spec.parameters", ["The params that scripts start from."]),
            ("plr.status.operation", ["accepted", "why it was refused"]),
            ("pl.spec.tasks.condition", ["falsy: the task is skipped"]),
            ("plt.spec", ["Default: metadata.name.", "Default: 5m.", "1h30m"]),
            ("pltr.status.attempts.steps", ["begunAt", "Milliseconds since 1970."]),
        ],
    )
    def test_explained(self, shown: Kubectl, path: str, words: Sequence[str]) -> None:
        told = " ".join(shown("explain", path).ok().split()).lower()
        for word in words:
            assert word.lower() in told
