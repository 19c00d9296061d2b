"""What may change in an object once it is there."""

import json
from collections.abc import Callable
from typing import Final

import pytest
from tests.kube.crds.kit.documents import (
    FULL_RUN,
    PIPELINE,
    RUN,
    RUN_STATUS,
    TASK,
    TASK_RUN,
    TASK_RUN_STATUS,
    Json,
    made,
)
from tests.kube.crds.kit.kubectl import Kubectl

pytestmark = pytest.mark.cluster


class TestRunsDoNotChange:
    @pytest.fixture
    def run(self, kubectl: Kubectl, new_name: Callable[[], str]) -> str:
        """A run without any optional field."""
        name = new_name()
        kubectl.create(made("PipelineRun", name, RUN)).ok()
        return name

    @pytest.fixture
    def full(self, kubectl: Kubectl, new_name: Callable[[], str]) -> str:
        """A run with all fields, whose operation was answered."""
        name = new_name()
        kubectl.create(made("PipelineRun", name, FULL_RUN)).ok()
        kubectl.merge("plr", name, {"status": RUN_STATUS}, "--subresource=status").ok()
        return name

    OTHER: Final[Json] = {
        "name": "q",
        "parameters": {"vlan": 8},
        "timeout": "2h",
        "autoRollback": True,
        "onAbort": "finish",
        "ttlAfterFinished": "1h",
    }

    @pytest.mark.parametrize("field", OTHER)
    def test_a_field_changes(self, kubectl: Kubectl, full: str, field: str) -> None:
        answer = kubectl.merge("plr", full, {"spec": {field: self.OTHER[field]}})
        answer.refused(f"spec.{field}: Forbidden: {field} can't be changed")

    @pytest.mark.parametrize("field", sorted(OTHER.keys() - {"name", "parameters"}))
    def test_a_field_comes_or_goes(self, kubectl: Kubectl, run: str, full: str, field: str) -> None:
        answer = kubectl.merge("plr", run, {"spec": {field: self.OTHER[field]}})
        answer.refused(f"spec.{field}: Forbidden")
        kubectl.merge("plr", full, {"spec": {field: None}}).refused(f"spec.{field}: Forbidden")

    @pytest.mark.parametrize(
        "edits",
        [
            [{"op": "add", "path": "/spec/parameters/new", "value": None}],
            [{"op": "remove", "path": "/spec/parameters/vlan"}],
            [{"op": "move", "from": "/spec/parameters/vlan", "path": "/spec/parameters/lan"}],
            [{"op": "replace", "path": "/spec/parameters/vlan", "value": None}],
            [{"op": "replace", "path": "/spec/parameters/vlan", "value": "7"}],
            [{"op": "replace", "path": "/spec/parameters/ports/1/deep", "value": 0}],
            [{"op": "move", "from": "/spec/parameters/ports/1/deep", "path": "/spec/parameters/ports/1/low"}],
            [{"op": "replace", "path": "/spec/parameters", "value": {}}],
        ],
        ids=json.dumps,
    )  # fmt: skip
    def test_no_edit_of_parameters_slips_through(
        self, kubectl: Kubectl, run: str, edits: list[Json]
    ) -> None:
        answer = kubectl("patch", "plr", run, "--type=json", f"--patch={json.dumps(edits)}")
        answer.refused("spec.parameters: Forbidden")

    def test_parameters_with_null_can_be_compared(
        self, kubectl: Kubectl, new_name: Callable[[], str]
    ) -> None:
        name = new_name()
        spec = RUN | {"parameters": {"nothing": None, "number": 1.5}}
        kubectl.create(made("PipelineRun", name, spec)).ok()
        kubectl.merge("plr", name, {"spec": {"suspend": True}}).ok()

    def test_suspend_changes(self, kubectl: Kubectl, run: str) -> None:
        for value in (True, False, None):
            kubectl.merge("plr", run, {"spec": {"suspend": value}}).ok()

    def test_labels_finalizers_and_status_change(self, kubectl: Kubectl, full: str) -> None:
        patch = {"metadata": {"labels": {"xaas.dev/over": "true"}, "finalizers": []}}
        kubectl.merge("plr", full, patch).ok()
        kubectl.merge("plr", full, {"status": {"state": "complete"}}, "--subresource=status").ok()

    def test_operations_one_after_the_other(self, kubectl: Kubectl, run: str) -> None:
        kubectl.merge("plr", run, {"spec": {"operation": {"name": "run", "id": "1"}}}).ok()
        # Until it is answered no other takes its place, and it isn't withdrawn.
        cancel = {"spec": {"operation": {"name": "cancel", "id": "2"}}}
        waits = "spec.operation: Forbidden: OperationPending: run still waits"
        kubectl.merge("plr", run, cancel).refused(waits)
        kubectl.merge("plr", run, {"spec": {"operation": None}}).refused(waits)
        kubectl.merge("plr", run, {"spec": {"suspend": True}}).ok()
        answer = {"id": "1", "name": "run", "accepted": True, "state": "processing"}
        kubectl.merge("plr", run, {"status": {"operation": answer}}, "--subresource=status").ok()
        kubectl.merge("plr", run, cancel).ok()

    def test_an_operation_that_was_answered_may_go(self, kubectl: Kubectl, full: str) -> None:
        kubectl.merge("plr", full, {"spec": {"operation": None}}).ok()

    def test_another_operation_needs_another_id(self, kubectl: Kubectl, full: str) -> None:
        patch = {"spec": {"operation": {"name": "cancel", "id": "first"}}}
        kubectl.merge("plr", full, patch).refused(
            "spec.operation.id: Forbidden: another operation needs another id"
        )


class TestOtherKindsDoNotChange:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("run", {"name": "other"}),
            ("ref", "b"),
            ("processType", "undo"),
            ("task", "u"),
        ],
    )
    def test_a_task_run(
        self, kubectl: Kubectl, new_name: Callable[[], str], field: str, value: object
    ) -> None:
        name = new_name()
        kubectl.create(made("PipelineTaskRun", name, TASK_RUN)).ok()
        kubectl.merge("pltr", name, {"spec": {field: value}}).refused(f"spec.{field}: Forbidden")
        kubectl.merge("pltr", name, {"status": TASK_RUN_STATUS}).ok()

    @pytest.mark.parametrize(("kind", "spec"), [("Pipeline", PIPELINE), ("PipelineTask", TASK)])
    def test_the_name_of_a_definition(
        self, kubectl: Kubectl, new_name: Callable[[], str], kind: str, spec: Json
    ) -> None:
        forbidden = "spec.name: Forbidden: the name can't be changed"
        name = new_name()
        kubectl.create(made(kind, name, spec)).ok()
        kubectl.merge(kind, name, {"spec": {"name": "Other"}}).refused(forbidden)
        kubectl.merge(kind, name, {"spec": {"name": name}}).ok()  # what it was by default
        kubectl.merge(kind, name, {"spec": {"name": "Other"}}).refused(forbidden)
        kubectl.merge(kind, name, {"spec": {"name": None}}).ok()
        kubectl.merge(kind, name, {"spec": {"category": "another"}}).ok()

        spelled = new_name()
        kubectl.create(made(kind, spelled, spec | {"name": "Spelled"})).ok()
        kubectl.merge(kind, spelled, {"spec": {"name": None}}).refused(forbidden)
