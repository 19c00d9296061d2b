"""The server around the contract: health, metrics, its own description."""

from tests.conformance.kit.rest import Rest

CALLS = {
    "/pipelinetasks": {"get", "post"},
    "/pipelinetasks/{name}": {"get", "put", "delete"},
    "/pipelines": {"get", "post"},
    "/pipelines/{name}": {"get", "put", "delete"},
    "/pipelineruns": {"get", "post"},
    "/pipelineruns/{instance_id}": {"get", "patch", "delete"},
    "/pipelineruns/{instance_id}/tasks": {"get"},
    "/pipelineruns/{instance_id}/tasks/{ref}/{process_type}": {"get"},
    "/pipelineruns/{instance_id}/tasks/{ref}/{process_type}/logs": {"get"},
    "/events": {"get"},
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
}


def test_health(rest: Rest) -> None:
    for url in ("/healthz", "/readyz"):
        rest.call("GET", url, 200)


def test_metrics(rest: Rest) -> None:
    response = rest.call("GET", "/metrics", 200)
    assert response.headers["content-type"].startswith(("text/plain", "application/openmetrics"))
    samples = [line for line in response.text.splitlines() if line and not line.startswith("#")]
    assert samples
    for sample in samples:
        float(sample.rsplit(" ", 1)[1])


def test_openapi_lists_every_call(rest: Rest) -> None:
    described = {
        url.replace(":path", ""): set(calls)
        for url, calls in rest.get("openapi.json")["paths"].items()
    }
    missing = {
        f"{method.upper()} {url}"
        for url, methods in CALLS.items()
        for method in methods
        if method not in described.get(url, set())
    }
    assert missing == set()


def test_openapi_describes_the_answers(rest: Rest) -> None:
    """Each call names its good answer; each that takes a body, the refusal of a bad one."""
    for url, calls in rest.get("openapi.json")["paths"].items():
        for method, call in calls.items():
            answers = set(call.get("responses", {}))
            assert any(code.startswith(("2", "1")) for code in answers), (method, url)
            assert "requestBody" not in call or "422" in answers, (method, url)


def test_docs(rest: Rest) -> None:
    response = rest.call("GET", "/docs", 200)
    assert response.headers["content-type"].startswith("text/html")
    assert "<html" in response.text.lower()


def test_lists_are_json(rest: Rest) -> None:
    for kind in ("pipelinetasks", "pipelines", "pipelineruns"):
        response = rest.call("GET", f"/{kind}", 200)
        assert response.headers["content-type"].startswith("application/json")
        assert isinstance(response.json()["items"], list)
