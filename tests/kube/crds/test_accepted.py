"""What the API server accepts, and that it keeps it as it was written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import yaml
from tests.kube.crds.kit.documents import (
    CRDS,
    FULL_RUN,
    FULL_TASK,
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

EXAMPLES: Final = sorted((CRDS.parent / "examples").rglob("*.yaml"))


class TestInstalling:
    def test_they_are_established_and_structural(self, kubectl: Kubectl) -> None:
        found = json.loads(kubectl("get", f"--filename={CRDS}", "--output=json").ok())["items"]
        assert len(found) == 4
        for each in found:
            conditions = {c["type"]: c["status"] for c in each["status"]["conditions"]}
            assert conditions == {"NamesAccepted": "True", "Established": "True"}, each["metadata"]

    def test_the_server_keeps_them_as_they_were_written(self, kubectl: Kubectl) -> None:
        """Nothing in them is unknown to the server: a word that it drops would be a difference."""
        for path in sorted(CRDS.iterdir()):
            document = yaml.safe_load(path.read_text("utf-8"))
            kept = kubectl.get("crd", document["metadata"]["name"])
            (version,) = document["spec"]["versions"]
            (stored,) = kept["spec"]["versions"]
            assert stored == version
            assert kept["spec"]["names"] == document["spec"]["names"]

    def test_applied_again_they_stay_as_they_are(self, kubectl: Kubectl) -> None:
        versions = [kubectl.get("crd", name_of(path)) for path in sorted(CRDS.iterdir())]
        kubectl("apply", "--server-side", "--force-conflicts", f"--filename={CRDS}").ok()
        again = [kubectl.get("crd", name_of(path)) for path in sorted(CRDS.iterdir())]
        assert [v["metadata"]["resourceVersion"] for v in again] == [
            v["metadata"]["resourceVersion"] for v in versions
        ]


def name_of(path: Path) -> str:
    name: str = yaml.safe_load(path.read_text("utf-8"))["metadata"]["name"]
    return name


class TestAccepted:
    @pytest.mark.parametrize(
        ("kind", "spec"),
        [
            ("PipelineTask", TASK),
            ("PipelineTask", TASK | {"steps": []}),
            ("PipelineTask", FULL_TASK),
            ("PipelineTask", TASK | {"timeout": None, "retries": None, "resources": None}),
            ("Pipeline", PIPELINE),
            ("PipelineRun", RUN),
            ("PipelineRun", RUN | {"parameters": {}}),
            ("PipelineRun", FULL_RUN),
            ("PipelineTaskRun", TASK_RUN),
        ],
    )
    def test_a_spec_is_kept_as_it_was_written(
        self, kubectl: Kubectl, new_name: Callable[[], str], kind: str, spec: Json
    ) -> None:
        name = new_name()
        kubectl.create(made(kind, name, spec), "--validate=strict").ok()
        assert kubectl.get(kind, name)["spec"] == spec

    @pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
    def test_examples(self, kubectl: Kubectl, path: Path) -> None:
        documents = list(yaml.safe_load_all(path.read_text("utf-8")))
        manifests = [document for document in documents if "apiVersion" in document]
        if not manifests:
            assert all("steps" in d or "tasks" in d or "parameters" in d for d in documents)
            return
        kubectl("create", f"--filename={path}", "--dry-run=server", "--validate=strict").ok()

    def test_a_status_with_all_its_fields(
        self, kubectl: Kubectl, new_name: Callable[[], str]
    ) -> None:
        name = new_name()
        kubectl.create(made("PipelineRun", name, FULL_RUN)).ok()
        kubectl.merge("plr", name, {"status": RUN_STATUS}, "--subresource=status").ok()
        assert kubectl.get("plr", name)["status"] == RUN_STATUS

    def test_a_task_run_is_created_with_its_status(
        self, kubectl: Kubectl, new_name: Callable[[], str]
    ) -> None:
        """One write makes an attempt's intent durable."""
        name = new_name()
        kubectl.create(
            made("PipelineTaskRun", name, TASK_RUN, status=TASK_RUN_STATUS), "--validate=strict"
        ).ok()
        assert kubectl.get("pltr", name)["status"] == TASK_RUN_STATUS

    def test_a_null_in_a_status_is_dropped(
        self, kubectl: Kubectl, new_name: Callable[[], str]
    ) -> None:
        name = new_name()
        status = {"state": "running", "reason": None, "verdict": None}
        kubectl.create(made("PipelineTaskRun", name, TASK_RUN, status=status)).ok()
        assert kubectl.get("pltr", name)["status"] == {"state": "running"}

    def test_thousands_of_tasks(self, kubectl: Kubectl, new_name: Callable[[], str]) -> None:
        refs = [f"task-{index}" for index in range(3000)]
        tasks = [
            {"ref": ref, "name": "t", "dependsOn": refs[max(0, index - 5) : index]}
            for index, ref in enumerate(refs)
        ]
        name = new_name()
        kubectl.create(made("Pipeline", name, {"category": "c", "tasks": tasks})).ok()
        edited = tasks[:-1]
        kubectl.merge("pl", name, {"metadata": {"labels": {"a": "b"}}}).ok()
        kubectl(
            "replace", "--filename=-", given=made("Pipeline", name, {**PIPELINE, "tasks": edited})
        ).ok()

    def test_a_mebibyte_of_parameters(self, kubectl: Kubectl, new_name: Callable[[], str]) -> None:
        name = new_name()
        parameters = {f"key-{index}": "x" * 100 for index in range(9000)}
        kubectl.create(made("PipelineRun", name, {"name": "p", "parameters": parameters})).ok()
        kubectl.merge("plr", name, {"spec": {"suspend": True}}).ok()
        kubectl.merge("plr", name, {"spec": {"parameters": {"key-7": "y"}}}).refused(
            "spec.parameters: Forbidden"
        )


class TestApplying:
    @pytest.mark.parametrize(
        ("kind", "spec"),
        [
            ("Pipeline", PIPELINE),
            ("PipelineTask", FULL_TASK),
            ("PipelineTask", TASK | {"timeout": None}),
            ("PipelineRun", FULL_RUN | {"parameters": {"float": 1.0, "big": 2**60, "no": None}}),
        ],
    )
    def test_twice_changes_nothing(
        self, kubectl: Kubectl, new_name: Callable[[], str], kind: str, spec: Json
    ) -> None:
        document = made(kind, new_name(), spec)
        kubectl.apply(document).ok()
        before = kubectl.get(kind, document["metadata"]["name"])["metadata"]
        kubectl.apply(document).ok()
        after = kubectl.get(kind, document["metadata"]["name"])["metadata"]
        assert after["resourceVersion"] == before["resourceVersion"]
        assert kubectl("diff", "--server-side", "--filename=-", given=document).ok() == ""

    def test_twice_in_the_client_changes_nothing(
        self, kubectl: Kubectl, new_name: Callable[[], str]
    ) -> None:
        # Without null: kubectl leaves it out of what it sends, and then finds it missing.
        document = made("PipelineRun", new_name(), FULL_RUN | {"parameters": {"a": 1.0}})
        assert "created" in kubectl("apply", "--filename=-", given=document).ok()
        assert "unchanged" in kubectl("apply", "--filename=-", given=document).ok()

    def test_a_file_without_operation_leaves_the_operation_alone(
        self, kubectl: Kubectl, new_name: Callable[[], str]
    ) -> None:
        document = made("PipelineRun", new_name(), RUN)
        name = document["metadata"]["name"]
        kubectl.apply(document).ok()
        operation = {"name": "run", "id": "1"}
        kubectl.merge("plr", name, {"spec": {"operation": operation}}).ok()
        kubectl.apply(document).ok()
        assert kubectl.get("plr", name)["spec"]["operation"] == operation
