"""What the API server refuses: the same as the models, with the place."""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import pytest
from pydantic import TypeAdapter, ValidationError
from tests.kube.crds.kit.documents import PIPELINE, RUN, TASK, TASK_RUN, Json, made
from tests.kube.crds.kit.kubectl import Kubectl

from xaas_core.models.fields import Duration, Name

pytestmark = pytest.mark.cluster


def without(spec: Json, field: str) -> Json:
    return {name: value for name, value in spec.items() if name != field}


class TestRefused:
    @pytest.mark.parametrize(
        ("kind", "spec", "words"),
        [
            ("Pipeline", PIPELINE | {"tasks": []}, ["spec.tasks", "at least 1 items"]),
            ("Pipeline", without(PIPELINE, "tasks"), ["spec.tasks: Required value"]),
            ("Pipeline", without(PIPELINE, "category"), ["spec.category: Required value"]),
            ("Pipeline", PIPELINE | {"tasks": [{"ref": "a"}]}, ["spec.tasks[0].name: Required"]),
            (
                "Pipeline",
                PIPELINE | {"tasks": [{"ref": "a", "name": "t", "dependsOn": [""]}]},
                ["spec.tasks[0].dependsOn[0]"],
            ),
            ("Pipeline", PIPELINE | {"name": ".."}, ["spec.name"]),
            ("Pipeline", PIPELINE | {"name": "x" * 254}, ["spec.name: Too long"]),
            ("PipelineTask", without(TASK, "steps"), ["spec.steps: Required value"]),
            ("PipelineTask", TASK | {"steps": [{}]}, ["spec.steps[0].doScript: Required value"]),
            ("PipelineTask", TASK | {"timeout": "5 minutes"}, ["spec.timeout"]),
            ("PipelineTask", TASK | {"timeout": 5}, ["spec.timeout", "must be of type string"]),
            ("PipelineTask", TASK | {"retries": {"limit": -1}}, ["spec.retries.limit"]),
            ("PipelineTask", TASK | {"retries": {"limit": 10_001}}, ["spec.retries.limit"]),
            ("PipelineTask", TASK | {"retries": {"factor": 0.5}}, ["spec.retries.factor"]),
            ("PipelineTask", TASK | {"resources": {"limits": "1"}}, ["spec.resources.limits"]),
            ("PipelineTask", TASK | {"secrets": [{"name": "n"}]}, ["spec.secrets[0].key: Required"]),
            ("PipelineTask", TASK | {"step": []}, ["unknown field", "spec.step"]),
            (
                "PipelineTask",
                TASK | {"steps": [{"doScript": "", "undo": ""}]},
                ["unknown field", "spec.steps[0].undo"],
            ),
            ("PipelineRun", without(RUN, "parameters"), ["spec.parameters: Required value"]),
            ("PipelineRun", RUN | {"parameters": []}, ["spec.parameters", "of type object"]),
            ("PipelineRun", RUN | {"onAbort": "kill"}, ["spec.onAbort: Unsupported value"]),
            (
                "PipelineRun",
                RUN | {"operation": {"name": "run", "id": ""}},
                ["spec.operation.id", "at least 1 chars"],
            ),
            (
                "PipelineRun",
                RUN | {"operation": {"name": "stop", "id": "1"}},
                ["spec.operation.name: Unsupported value"],
            ),
            ("PipelineRun", RUN | {"operation": {"name": "run"}}, ["spec.operation.id: Required"]),
            (
                "PipelineTaskRun",
                TASK_RUN | {"processType": "redo"},
                ["spec.processType: Unsupported value"],
            ),
        ],
    )  # fmt: skip
    def test_with_its_place(
        self, kubectl: Kubectl, kind: str, spec: Json, words: Sequence[str]
    ) -> None:
        answer = kubectl.create(made(kind, "bad", spec), "--validate=strict", "--dry-run=server")
        answer.refused(*words)

    def test_an_object_without_spec(self, kubectl: Kubectl) -> None:
        document = made("Pipeline", "bad", PIPELINE)
        del document["spec"]
        kubectl.create(document).refused("spec: Required value")

    def test_an_unknown_field_is_pruned_for_who_does_not_ask(
        self, kubectl: Kubectl, new_name: Callable[[], str]
    ) -> None:
        name = new_name()
        kubectl.create(made("Pipeline", name, PIPELINE | {"more": 1}), "--validate=ignore").ok()
        assert kubectl.get("pl", name)["spec"] == PIPELINE


def verdicts(kubectl: Kubectl, documents: Mapping[str, Json]) -> dict[str, bool]:
    """Whether the server takes each of the documents, by their metadata.name."""
    items = {"apiVersion": "v1", "kind": "List", "items": list(documents.values())}
    answer = kubectl("create", "--filename=-", "--dry-run=server", "--output=name", given=items)
    taken = {line.partition("/")[2] for line in answer.out.splitlines()}
    return {name: name in taken for name in documents}


def is_valid(adapter: TypeAdapter[str], value: str) -> bool:
    try:
        adapter.validate_python(value)
    except ValidationError:
        return False
    return True


SPACES: Final = [chr(code) for code in range(0x3100) if chr(code).isspace()]
CONTROLS: Final = [chr(code) for code in (*range(0x20), 0x7F)]
OTHERS: Final = ["\x80", "\xad", "\u200b", "\ufeff", "é", "タ", "/", "\\", '"', "\U0001f600"]
ODD: Final = sorted({*SPACES, *CONTROLS, *OTHERS})
NAMES: Final = [
    *(odd + "a" for odd in ODD),
    *("a" + odd for odd in ODD),
    *("a" + odd + "b" for odd in ODD),
    *ODD,
    *("", ".", "..", "...", ".a", "a.", "x" * 253, "x" * 254, "é" * 253, "é" * 254),
]


class TestTheServerJudgesAsTheModels:
    def test_names(self, kubectl: Kubectl) -> None:
        documents = {
            f"n{index}": made("Pipeline", f"n{index}", PIPELINE | {"name": name})
            for index, name in enumerate(NAMES)
        }
        taken = verdicts(kubectl, documents)
        model = TypeAdapter(Name)
        for index, name in enumerate(NAMES):
            told = [unicodedata.name(char, hex(ord(char))) for char in name[:5]]
            assert taken[f"n{index}"] == is_valid(model, name), told
        assert len(set(taken.values())) == 2

    def test_durations(self, kubectl: Kubectl) -> None:
        texts = [
            "5m", "0s", "100ms", "1.5h", "1h30m", "1h30m10s5ms", "30s5m", "007s", "",
            "5", "m", "5 m", " 5m", "5m ", "-5m", "+5m", "5M", "1.m", ".5s", "1,5s", "5d", "5m\n",
            "1e3s", "٣s",
        ]  # fmt: skip
        documents = {
            f"d{index}": made("PipelineTask", f"d{index}", TASK | {"timeout": text})
            for index, text in enumerate(texts)
        }
        taken = verdicts(kubectl, documents)
        model = TypeAdapter(Duration)
        for index, text in enumerate(texts):
            assert taken[f"d{index}"] == is_valid(model, text), text
        assert len(set(taken.values())) == 2
