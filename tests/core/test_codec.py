"""Records, plans and statuses survive being text, exactly."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaas_core.codec import Codec
from xaas_core.engine.facts import Reply, Request
from xaas_core.engine.plan import Plan, SecretRef, Step, TaskPlan
from xaas_core.engine.records import Attempt, Failure, StepRecord, Stop, TaskRecord, Verdict
from xaas_core.engine.retry import Retries
from xaas_core.engine.states import Operation, Reason, RunState, Side
from xaas_core.models.objects import RunStatus, RunWarning, Summary

# With halves of surrogate pairs; two halves side by side are one character, to JSON.
TEXT = st.text(st.characters(exclude_categories=()), max_size=8).map(
    lambda text: str(json.loads(json.dumps(text)))
)
NUMBERS = st.one_of(
    st.integers(), st.integers(min_value=2**63, max_value=2**200), st.floats(allow_nan=False)
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
TIMES = st.integers(0, 2**45)
SMALL = st.integers(0, 5)


def some(items: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=most).map(tuple)


def maybe(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | value


REASONS = st.sampled_from(Reason)
FAILURES = st.builds(Failure, TEXT, TEXT, maybe(SMALL), maybe(SMALL), some(TEXT))
STEPS = st.builds(
    StepRecord,
    index=SMALL,
    begun_at=TIMES,
    nonce=TEXT,
    runner=TEXT,
    finished_at=maybe(TIMES),
    succeeded=st.booleans(),
    delta=some(OBJECTS),
    failure=maybe(FAILURES),
    reason=REASONS,
)
ATTEMPTS = st.builds(
    Attempt,
    number=SMALL,
    round=SMALL,
    decided_at=TIMES,
    order=some(SMALL),
    launch=SMALL,
    launched_at=TIMES,
    lost=SMALL,
    undoes=SMALL,
    steps=some(STEPS),
    stop=maybe(st.builds(Stop, REASONS, TIMES)),
    ended_at=maybe(TIMES),
    succeeded=st.booleans(),
    reason=REASONS,
    failure=maybe(FAILURES),
)
VERDICTS = st.builds(Verdict, SMALL, st.booleans(), REASONS, maybe(FAILURES))
RECORDS = st.builds(TaskRecord, TEXT, st.sampled_from(Side), maybe(VERDICTS), some(ATTEMPTS))
TASKS = st.builds(
    TaskPlan,
    ref=TEXT,
    task=TEXT,
    depends_on=some(TEXT),
    condition=maybe(TEXT),
    steps=some(st.builds(Step, TEXT, maybe(TEXT))),
    timeout=maybe(TIMES),
    retries=st.builds(Retries, SMALL, TIMES, st.floats(1, 9), maybe(TIMES)),
    image=maybe(TEXT),
    resources=OBJECTS,
    secrets=some(st.builds(SecretRef, TEXT, TEXT, TEXT)),
    allowed_imports=some(TEXT),
)
STATES = st.sampled_from(RunState)
STATUSES = st.builds(
    RunStatus,
    st.builds(
        Summary,
        STATES,
        REASONS,
        TEXT,
        maybe(TIMES),
        maybe(TIMES),
        st.dictionaries(TEXT, SMALL, max_size=3),
    ),
    some(st.builds(RunWarning, TEXT, TEXT, some(TEXT), some(TEXT))),
    maybe(st.builds(Reply, TEXT, st.sampled_from(Operation), st.booleans(), STATES, TEXT)),
    st.booleans(),
)


def check(kind: type[Any], value: Any) -> None:
    codec = Codec(kind)
    text = codec.encode(value)
    found = codec.decode(text)
    assert found == value
    assert repr(found) == repr(value)  # 1 and 1.0, 0.0 and -0.0, the order of keys
    assert codec.encode(found) == text
    assert text.isascii()


@given(RECORDS)
def test_records(value: TaskRecord) -> None:
    check(TaskRecord, value)


@given(some(TASKS).map(lambda tasks: Plan("p", tasks)))
def test_plans(value: Plan) -> None:
    check(Plan, value)


@given(STATUSES)
def test_statuses(value: RunStatus) -> None:
    check(RunStatus, value)


@given(st.builds(Request, TEXT, st.sampled_from(Operation)))
def test_requests(value: Request) -> None:
    check(Request, value)


def test_defaults_arent_written() -> None:
    text = Codec(TaskRecord).encode(TaskRecord("a", Side.DO))
    assert json.loads(text) == {"ref": "a", "side": "do"}


@dataclass(frozen=True)
class Doubtful:
    value: Request | Reply


@dataclass(frozen=True)
class Opaque:
    value: object


def test_what_cant_be_told_apart_is_refused() -> None:
    with pytest.raises(TypeError, match="can't be told"):
        Codec(Doubtful)


def test_what_isnt_json_is_refused() -> None:
    with pytest.raises(TypeError, match="bytearray"):
        Codec(Opaque).encode(Opaque(bytearray()))
