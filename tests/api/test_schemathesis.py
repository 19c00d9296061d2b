"""The API against its own OpenAPI document: valid and invalid requests that nobody thought of."""

from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from tests.api.kit.process import server_process

from xaas_api import generate

pytestmark = pytest.mark.slow

DOCUMENT: Final = generate.openapi()
SCHEMA: Final = schemathesis.openapi.from_dict(DOCUMENT)
ENDLESS: Final = "/events"
OPERATIONS: Final = [
    (method, path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if path != ENDLESS
]


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server_process(tmp_path_factory.mktemp("schemathesis") / "data") as server:
        yield server.url


@pytest.fixture(scope="module")
def known(base_url: str) -> dict[str, str]:
    """Path parameters of things that there are: a run that failed and was rolled back."""
    steps = [{"doScript": "params['n'] = 1\nprint('n')", "undoScript": "pass"}]
    tasks = [
        {"ref": "a", "name": "made", "dependsOn": []},
        {"ref": "b", "name": "made", "dependsOn": ["a"], "condition": "params['no']"},
    ]
    with httpx.Client(base_url=base_url, trust_env=False) as http:
        http.post("/pipelinetasks", json={"category": "c", "name": "made", "steps": steps})
        http.post("/pipelines", json={"category": "c", "name": "made", "tasks": tasks})
        body: Any = {"name": "made", "parameters": {}, "run": True}
        run = http.post("/pipelineruns", json=body).json()
        events = {"after": "", "instance_id": run["instance_id"]}
        with http.stream("GET", "/events", params=events) as stream:
            assert any('"cancelled"' in line for line in stream.iter_lines())
    return {"name": "made", "instance_id": run["instance_id"], "ref": "a", "process_type": "do"}


MODES: Final = [
    (method, path, mode)
    for method, path, operation in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or "parameters" in operation
]


@pytest.mark.parametrize(("method", "path", "mode"), MODES)
def test_any_request(method: str, path: str, mode: GenerationMode, base_url: str) -> None:
    operation = SCHEMA[path][method]

    @seed(1)
    @settings(
        max_examples=40,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case[Any]) -> None:
        if isinstance(case.query, dict):
            case.query.pop("follow", None)  # a followed log doesn't end before its run does
            case.query.pop("continue", None)  # opaque: a schema can't say which ones there are
        # Nor can it say that a script compiles, or that a Pipeline exists.
        excluded: list[Any] = [positive_data_acceptance] if operation.body else []
        case.call_and_validate(base_url=base_url, excluded_checks=excluded)

    check()


@pytest.mark.parametrize(
    ("method", "path"), [(method, path) for method, path, _ in OPERATIONS if method == "get"]
)
def test_what_there_is(method: str, path: str, base_url: str, known: dict[str, str]) -> None:
    operation = SCHEMA[path][method]
    wanted = {key: value for key, value in known.items() if f"{{{key}}}" in path}
    answer = operation.Case(path_parameters=wanted).call_and_validate(base_url=base_url)
    assert answer.status_code == 200
