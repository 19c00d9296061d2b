"""Probes, metrics, the OpenAPI document, its page, and what is answered when things break."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from tests.api.kit.client import Client, problem

from xaas_api import generate
from xaas_api.app import create_app
from xaas_api.auth import Access
from xaas_api.services import Services
from xaas_core.admission import Admission
from xaas_core.ports import Evaluator, Logs, Store, Unavailable

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


class TestMetrics:
    async def values(self, http: httpx.AsyncClient) -> dict[str, float]:
        answer = await http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        lines = (line for line in answer.text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    async def test_what_is_counted(self, client: Client) -> None:
        before = await self.values(client.http)
        pipeline = await client.single()
        await client.run(pipeline, start=False)
        await client.until(await client.run(pipeline), "complete")
        await client.http.get("/nowhere")
        await client.http.get("/pipelines/a%2Fb")
        after = await self.values(client.http)

        def grown(name: str) -> float:
            return after[name] - before.get(name, 0)

        assert grown('xaas_runs{state="pending"}') == 1
        assert grown('xaas_changes_total{event="Pipeline",status="complete"}') == 1
        assert grown('xaas_changes_total{event="PipelineTask",status="succeeded"}') == 1
        requests = 'xaas_http_requests_total{{method="{}",route="{}",status="{}"}}'
        assert grown(requests.format("POST", "/pipelineruns", 201)) == 2
        assert grown(requests.format("GET", "other", 404)) == 1
        assert grown(requests.format("GET", "/pipelines/{name}", 404)) == 1
        durations = 'xaas_http_request_duration_seconds_count{method="POST",route="/pipelines"}'
        assert grown(durations) == 1
        assert after["process_resident_memory_bytes"] > 0


class TestDocument:
    async def test_is_complete(self, http: httpx.AsyncClient) -> None:
        document = (await http.get("/openapi.json")).json()
        schemas = set(document["components"]["schemas"])
        referred = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
        assert referred <= schemas
        operations = [o for item in document["paths"].values() for o in item.values()]
        assert len(operations) == 24
        assert len({operation["operationId"] for operation in operations}) == len(operations)
        for operation in operations:
            assert operation["description"]
            answers = operation["responses"]
            assert {"401", "403", "422", "500", "503"} <= set(answers)
            for status, answer in answers.items():
                media = {"application/problem+json"} if status >= "400" else None
                assert media is None or set(answer["content"]) == media
                for content in answer.get("content", {}).values():
                    assert content["schema"]
                    examples = "example" in content or "examples" in content
                    assert examples or operation["operationId"] == "openapi"
            if "requestBody" in operation:
                assert {"413", "415"} <= set(answers)
                assert operation["requestBody"]["content"]["application/json"]["examples"]

    def test_the_file_is_what_the_code_says(self) -> None:
        assert generate.main(["--check"]) == 0

    def test_a_file_that_differs_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(generate, "OPENAPI", tmp_path / "openapi.json")
        assert generate.main(["--check"]) == 1
        assert "make generate" in capsys.readouterr().err
        assert generate.main([]) == 0
        assert generate.main(["--check"]) == 0


async def test_the_page_needs_nothing_from_elsewhere(http: httpx.AsyncClient) -> None:
    answer = await http.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"(https?:)?//\w+\.", answer.text)
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", answer.text)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    scripts = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "innerHTML" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


class BrokenStore:
    """A store that is away, or has a defect."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        async def fails(*_: Any) -> None:
            raise self._error

        return fails


@pytest.mark.parametrize(
    "path", ["/pipelines", "/pipelineruns/x", "/readyz", "/metrics", "/events"]
)
@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Unavailable("the disk is full"), 503, "unavailable"),
        (ZeroDivisionError("secret"), 500, "internal-error"),
    ],
)
async def test_what_breaks(path: str, error: Exception, status: int, kind: str) -> None:
    store = cast(Store, BrokenStore(error))
    admission = Admission(store, cast(Evaluator, None))
    app = create_app(Services(store, admission, cast(Logs, None)), Access())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        answer = await http.get(path)
        found = problem(answer, status, kind)
        assert "secret" not in answer.text
        if status == 503:
            assert found["detail"] == "the disk is full"
            assert answer.headers["retry-after"] == "1"
        assert (await http.get("/healthz")).status_code == 200


async def test_a_server_that_is_about_to_end() -> None:
    store = cast(Store, BrokenStore(Unavailable("nobody asks it")))
    services = Services(store, Admission(store, cast(Evaluator, None)), cast(Logs, None))
    services.is_leaving = True
    transport = httpx.ASGITransport(create_app(services, Access()))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        found = problem(await http.get("/readyz"), 503, "unavailable")
        assert found["detail"] == "the server is about to end"
        assert (await http.get("/healthz")).status_code == 200
