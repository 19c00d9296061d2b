"""What users write: good and bad input, and messages that name the place."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from xaas_core.engine.json_values import DEEPEST, check_json
from xaas_core.engine.params import MAX_BYTES
from xaas_core.models import PipelineRunSpec, PipelineSpec, PipelineTaskSpec
from xaas_core.models.fields import Spec, milliseconds, optional_milliseconds

TASK = {"category": "c", "name": "t", "steps": [{"doScript": "pass"}]}
PIPELINE = {"category": "c", "name": "p", "tasks": [{"ref": "a", "name": "t", "dependsOn": []}]}
RUN = {"name": "p", "parameters": {}}
FULL_TASK = {
    "category": "",
    "name": "タスク 1/é",
    "steps": [{"doScript": "", "undoScript": ""}, {"doScript": "await x()\n"}],
    "timeout": "1h30m",
    "startTimeout": "100ms",
    "gracePeriod": "0s",
    "retries": {"limit": 3, "delay": "1.5s", "factor": 2.5, "maxDelay": "1m"},
    "image": "registry/runner:1",
    "resources": {"limits": {"cpu": 1, "memory": "64Mi"}},
    "secrets": [{"name": "token", "secret": "s", "key": "k"}],
    "allowedImports": ["yaml"],
}
FULL_PIPELINE = {
    "category": "c",
    "name": "Task-1",
    "tasks": [
        {"ref": "a", "name": "t", "dependsOn": []},
        {
            "ref": "b",
            "name": "t",
            "dependsOn": ["a"],
            "condition": "params['x'] > 1",
            "timeout": "5m",
            "retries": {"limit": 0},
        },
    ],
}
FULL_RUN = {
    "name": "p",
    "parameters": {"a": [1, 2.5, None, True, {"é": "\U0001f600"}], "b": -(2**63)},
    "timeout": "30s",
    "autoRollback": False,
    "onAbort": "terminate",
    "suspend": True,
    "ttlAfterFinished": "1h",
}


def nested(depth: int, kind: type = dict) -> Any:
    """Objects or lists within each other, `depth` of them."""
    value: Any = {} if kind is dict else []
    for _ in range(depth - 1):
        value = {"a": value} if kind is dict else [value]
    return value


@pytest.mark.parametrize(
    ("model", "written"),
    [
        (PipelineTaskSpec, TASK),
        (PipelineTaskSpec, FULL_TASK),
        (PipelineTaskSpec, {**TASK, "steps": []}),
        (PipelineSpec, PIPELINE),
        (PipelineSpec, FULL_PIPELINE),
        (PipelineRunSpec, RUN),
        (PipelineRunSpec, FULL_RUN),
    ],
)
def test_what_comes_back_is_what_was_written(model: type[Spec], written: dict[str, Any]) -> None:
    spec = model.model_validate(written)
    assert repr(spec.as_written()) == repr(written)
    assert model.model_validate_json(spec.model_dump_json(by_alias=True)) == spec


@pytest.mark.parametrize(
    ("model", "good", "bad", "place", "text"),
    [
        # missing, unknown and mistyped fields
        (PipelineTaskSpec, TASK, {"category": None}, "category", "valid string"),
        (PipelineTaskSpec, TASK, {"steps": None}, "steps", "valid list"),
        (PipelineTaskSpec, TASK, {"steps": [{}]}, "steps.0.doScript", "required"),
        (PipelineTaskSpec, TASK, {"steps": [{"doScript": 1}]}, "steps.0.doScript", "string"),
        (PipelineTaskSpec, TASK, {"step": []}, "step", "not permitted"),
        (
            PipelineTaskSpec,
            TASK,
            {"steps": [{"doScript": "", "redo": ""}]},
            "steps.0.redo",
            "not permitted",
        ),
        (PipelineSpec, PIPELINE, {"tasks": []}, "tasks", "at least 1"),
        (PipelineSpec, PIPELINE, {"tasks": [{"ref": "a"}]}, "tasks.0.name", "required"),
        (PipelineRunSpec, RUN, {"parameters": None}, "parameters", "valid dictionary"),
        (PipelineRunSpec, RUN, {"parameters": []}, "parameters", "valid dictionary"),
        (PipelineRunSpec, RUN, {"parameters": {1: 1}}, "parameters.1.[key]", "valid string"),
        (PipelineRunSpec, RUN, {"onAbort": "stop"}, "onAbort", "'finish' or 'terminate'"),
        # names
        (PipelineTaskSpec, TASK, {"name": ""}, "name", "at least 1"),
        (PipelineTaskSpec, TASK, {"name": "x" * 254}, "name", "at most 253"),
        (PipelineTaskSpec, TASK, {"name": "a\nb"}, "name", "control characters"),
        (PipelineTaskSpec, TASK, {"name": "a\x7f"}, "name", "control characters"),
        (PipelineTaskSpec, TASK, {"name": " a"}, "name", "white space"),
        (PipelineTaskSpec, TASK, {"name": "a\u00a0"}, "name", "white space"),
        (PipelineTaskSpec, TASK, {"name": "."}, "name", "can't be a name"),
        (PipelineTaskSpec, TASK, {"name": ".."}, "name", "can't be a name"),
        (PipelineTaskSpec, TASK, {"name": "a\ud800"}, "name", ""),
        (PipelineTaskSpec, TASK, {"category": "\udfff"}, "category", ""),
        # durations
        (PipelineTaskSpec, TASK, {"timeout": "5"}, "timeout", ""),
        (PipelineTaskSpec, TASK, {"timeout": "5 m"}, "timeout", ""),
        (PipelineTaskSpec, TASK, {"timeout": ""}, "timeout", ""),
        (PipelineTaskSpec, TASK, {"timeout": "-5s"}, "timeout", ""),
        (PipelineTaskSpec, TASK, {"timeout": "5d"}, "timeout", ""),
        (PipelineTaskSpec, TASK, {"timeout": "1.5.5s"}, "timeout", ""),
        (PipelineTaskSpec, TASK, {"timeout": "\u0665s"}, "timeout", ""),
        (PipelineTaskSpec, TASK, {"timeout": "5s\n"}, "timeout", ""),
        (PipelineTaskSpec, TASK, {"timeout": 5}, "timeout", "string"),
        (PipelineTaskSpec, TASK, {"timeout": "90000h"}, "timeout", "longer than ten years"),
        (PipelineTaskSpec, TASK, {"timeout": "9" * 400 + "s"}, "timeout", "longer than ten years"),
        (PipelineTaskSpec, TASK, {"gracePeriod": None}, "gracePeriod", "string"),
        # retries
        (PipelineTaskSpec, TASK, {"retries": {"limit": -1}}, "retries.limit", "greater"),
        (PipelineTaskSpec, TASK, {"retries": {"limit": 10_001}}, "retries.limit", "less"),
        (PipelineTaskSpec, TASK, {"retries": {"factor": 0.5}}, "retries.factor", "greater"),
        (PipelineTaskSpec, TASK, {"retries": {"factor": float("nan")}}, "retries.factor", ""),
        (PipelineTaskSpec, TASK, {"retries": {"delay": "x"}}, "retries.delay", ""),
        # parameters
        (PipelineRunSpec, RUN, {"parameters": {"a": [2**63]}}, "parameters", "parameters['a'][0]"),
        (PipelineRunSpec, RUN, {"parameters": {"a": -(2**63) - 1}}, "parameters", "64 bit"),
        (PipelineRunSpec, RUN, {"parameters": {"a": 10**5000}}, "parameters", "64 bit"),
        (
            PipelineRunSpec,
            RUN,
            {"parameters": {"a": {"b": float("nan")}}},
            "parameters",
            "parameters['a']['b'] is nan, which JSON doesn't have",
        ),
        (PipelineRunSpec, RUN, {"parameters": {"a": float("inf")}}, "parameters", "is inf"),
        (PipelineRunSpec, RUN, {"parameters": {"a": "\ud800"}}, "parameters", "surrogate"),
        (PipelineRunSpec, RUN, {"parameters": {"\ud800": 1}}, "parameters", ""),
        (PipelineRunSpec, RUN, {"parameters": {"a": {1, 2}}}, "parameters", "a set, which isn't"),
        (PipelineRunSpec, RUN, {"parameters": {"a": {1: 2}}}, "parameters", "keys must be strings"),
        (PipelineRunSpec, RUN, {"parameters": {"a": b"x"}}, "parameters", "a bytes, which isn't"),
        (PipelineRunSpec, RUN, {"parameters": nested(102)}, "parameters", "more than 100 deep"),
        (PipelineRunSpec, RUN, {"parameters": nested(50_000)}, "parameters", "100 deep"),
        (
            PipelineRunSpec,
            RUN,
            {"parameters": {"a": nested(50_000, list)}},
            "parameters",
            "100 deep",
        ),
        (PipelineRunSpec, RUN, {"parameters": {"a": "x" * 2**20}}, "parameters", "at most 1048576"),
        # resources
        (PipelineTaskSpec, TASK, {"resources": nested(50_000)}, "resources", "has no 'a'"),
        (
            PipelineTaskSpec,
            TASK,
            {"resources": {"limits": {"memory": "lots"}}},
            "resources",
            "resources.limits.memory: 'lots' is no quantity",
        ),
        (PipelineTaskSpec, TASK, {"resources": {"requests": 1}}, "resources", "is no object"),
        (
            PipelineTaskSpec,
            TASK,
            {"resources": {"limits": {"cpu": "0"}}},
            "resources",
            "resources.limits.cpu must be more than 0",
        ),
        (
            PipelineTaskSpec,
            TASK,
            {"resources": {"limits": {"cpu": float("nan")}}},
            "resources",
            "no quantity",
        ),
        (
            PipelineTaskSpec,
            TASK,
            {"resources": {"limits": {"a/\ud800": 1}}},
            "resources",
            "surrogate",
        ),
        (
            PipelineTaskSpec,
            TASK,
            {"resources": {"limits": {"memroy": "1Gi"}}},
            "resources",
            "resources.limits has no 'memroy'; it may have cpu, memory",
        ),
        (PipelineTaskSpec, TASK, {"resources": {"limit": {}}}, "resources", "has no 'limit'"),
        (
            PipelineTaskSpec,
            TASK,
            {"secrets": [{"name": "x", "key": "k"}]},
            "secrets.0.secret",
            "required",
        ),
    ],
)
def test_refused(
    model: type[Spec], good: dict[str, Any], bad: dict[str, Any], place: str, text: str
) -> None:
    model.model_validate(good)
    with pytest.raises(ValidationError) as caught:
        model.model_validate({**good, **bad})
    [error] = caught.value.errors(include_input=False)
    assert ".".join(str(part) for part in error["loc"]) == place
    assert text in error["msg"]


@pytest.mark.parametrize("missing", ["category", "name", "steps"])
def test_all_three_fields_of_a_task_are_required(missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        PipelineTaskSpec.model_validate({k: v for k, v in TASK.items() if k != missing})


@pytest.mark.parametrize("missing", ["name", "parameters"])
def test_both_fields_of_a_run_are_required(missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        PipelineRunSpec.model_validate({k: v for k, v in RUN.items() if k != missing})


def test_depends_on_may_be_left_out_and_stays_out() -> None:
    written = {"category": "c", "name": "p", "tasks": [{"ref": "a", "name": "t"}]}
    spec = PipelineSpec.model_validate(written)
    assert spec.tasks[0].depends_on == []
    assert spec.as_written() == written


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", 0),
        ("100ms", 100),
        ("30s", 30_000),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("1h30m", 5_400_000),
        ("1h2m3s4ms", 3_723_004),
        ("1.5s", 1_500),
        ("1.001s", 1_001),
        ("4.35s", 4_350),
        ("87600h", 87_600 * 3_600_000),
    ],
)
def test_durations(text: str, expected: int) -> None:
    assert milliseconds(text) == optional_milliseconds(text) == expected


def test_no_duration_is_none() -> None:
    assert optional_milliseconds(None) is None


@given(st.integers(0, 10**7), st.integers(0, 999))
def test_a_duration_in_seconds_is_exact_to_the_millisecond(seconds: int, rest: int) -> None:
    assert milliseconds(f"{seconds}.{rest:03d}s") == seconds * 1000 + rest


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON, max_size=3))
def test_any_json_object_is_kept_exactly(parameters: dict[str, Any]) -> None:
    spec = PipelineRunSpec.model_validate({"name": "p", "parameters": parameters})
    assert repr(spec.as_written()["parameters"]) == repr(parameters)


def test_the_deepest_parameters_and_the_largest() -> None:
    deep = PipelineRunSpec(name="p", parameters=nested(100))
    assert deep.as_written()["parameters"] == nested(100)
    PipelineRunSpec(name="p", parameters={"a": "x" * (MAX_BYTES - len('{"a":""}'))})


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "p", "parameters": ' + '{"a":' * 5000 + "1" + "}" * 5000 + "}",
        '{"name": "p", "parameters": {"a": ' + "[" * 5000 + "]" * 5000 + "}}",
        '{"name": "p", "parameters": {"a": NaN}}',
        '{"name": "p", "parameters": {"a": 1e999}}',
    ],
)
def test_refused_as_json_text(text: str) -> None:
    with pytest.raises(ValidationError):
        PipelineRunSpec.model_validate_json(text)


def test_specs_are_immutable() -> None:
    spec = PipelineRunSpec(name="p", parameters={})
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "q"


# --- the check of free-form values ---


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [0, float("-inf")]}, "v['a'][1] is -inf"),
        ({"a": {"b": 2**63}}, "v['a']['b'] is an integer beyond 64 bit"),
        ({"a": {None: 1}}, "v['a'] has the key None; keys must be strings"),
        ((1,), "v is a tuple, which isn't JSON"),
        ({"a" * 500: float("nan")}, "…"),
    ],
)
def test_check_json_names_the_place(value: Any, text: str) -> None:
    with pytest.raises(ValueError, match="v") as caught:
        check_json(value, "v", integer_bits=64)
    assert text in str(caught.value)
    assert len(str(caught.value)) < 250


def test_check_json_lets_any_integer_pass_and_bounds_depth_by_the_containers() -> None:
    check_json({"a": 10**5000}, "v")
    check_json(nested(DEEPEST), "v")
    with pytest.raises(ValueError, match=f"more than {DEEPEST} deep"):
        check_json(nested(DEEPEST + 1), "v")
