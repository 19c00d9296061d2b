"""The suite's REST client: says what was asked and answered whenever an answer isn't the one wanted.

JSON is typed `Any` on purpose: the suite judges what the product answers, so it assumes no shape.
"""

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

PROBLEM = "application/problem+json"
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|\+00:00)")


@dataclass(frozen=True)
class Patience:
    """Deadlines in seconds, all stretched by one factor: a slow backend gets more of everything."""

    scale: float = 1.0

    @property
    def wait(self) -> float:
        """How long something may take that is bound to come."""
        return 20.0 * self.scale

    @property
    def pause(self) -> float:
        """The longest pause between two looks at the same thing."""
        return 0.1 * self.scale

    def duration(self, seconds: float) -> str:
        """A duration for a definition, in the product's spelling, that this backend can meet."""
        return f"{round(seconds * self.scale * 1000)}ms"


def path(*parts: str | int) -> str:
    """The path of a resource; each part is one segment, whatever characters it has."""
    return "/" + "/".join(quote(str(part), safe="") for part in parts)


class Rest:
    """One server, seen over HTTP."""

    def __init__(self, base_url: str, token: str | None, patience: Patience) -> None:
        self.base_url = base_url.rstrip("/")
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.patience = patience
        self.http = httpx.Client(
            base_url=self.base_url,
            headers=self.headers,
            timeout=httpx.Timeout(30.0 * patience.scale),
            trust_env=False,
        )

    def close(self) -> None:
        self.http.close()

    def send(self, method: str, url: str, **request: Any) -> httpx.Response:
        """Any request, any answer. No answer whatever may be a server error."""
        response = self.http.request(method, url, **request)
        assert response.status_code < 500, self.story(response, "an answer below 500")
        return response

    def call(self, method: str, url: str, expect: int, **request: Any) -> httpx.Response:
        response = self.send(method, url, **request)
        assert response.status_code == expect, self.story(response, str(expect))
        return response

    def get(self, *parts: str | int, **params: Any) -> Any:
        return self.call("GET", path(*parts), 200, params=params).json()

    def post(self, kind: str, body: Any, **headers: str) -> Any:
        return self.call("POST", path(kind), 201, json=body, headers=spelled(headers)).json()

    def put(self, kind: str, name: str, body: Any, **headers: str) -> Any:
        return self.call("PUT", path(kind, name), 200, json=body, headers=spelled(headers)).json()

    def delete(self, *parts: str, expect: int = 204, **params: Any) -> None:
        self.call("DELETE", path(*parts), expect, params=params)

    def gone(self, *parts: str) -> bool:
        return self.send("GET", path(*parts)).status_code == 404

    def refuse(self, method: str, url: str, status: int, **request: Any) -> dict[str, Any]:
        """A request that must be refused with `status` and RFC 9457 problem details."""
        return problem(self.send(method, url, **request), status)

    def story(self, response: httpx.Response, wanted: str) -> str:
        return story(response, wanted)


def spelled(headers: dict[str, str]) -> dict[str, str]:
    """`if_match=...` as the header `If-Match`."""
    return {name.replace("_", "-"): value for name, value in headers.items()}


def story(response: httpx.Response, wanted: str) -> str:
    """Request and answer in full (but for megabytes)."""
    request = response.request
    sent = request.content.decode("utf-8", "replace")[:2000]
    return (
        f"wanted {wanted}, got {response.status_code}\n"
        f"  > {request.method} {request.url.raw_path.decode('ascii')[:500]}\n  > {sent}\n"
        f"  < {response.headers.get('content-type')}\n  < {response.text[:3000]}"
    )


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem details of a refusal, judged for their shape."""
    assert response.status_code == status, story(response, str(status))
    media = response.headers.get("content-type", "").partition(";")[0]
    assert media == PROBLEM, story(response, f"{status} as {PROBLEM}")
    body = response.json()
    shape = f"{status} as problem details with type, title, status"
    assert isinstance(body, dict), story(response, shape)
    for member in ("type", "title"):
        assert isinstance(body.get(member), str), story(response, shape)
        assert body[member], story(response, shape)
    assert body.get("status") == status, story(response, shape)
    return body


def names(refusal: dict[str, Any], *words: str) -> None:
    """The refusal names each of these."""
    text = json.dumps(refusal, ensure_ascii=False)
    missing = [word for word in words if word not in text]
    assert not missing, f"the refusal doesn't name {missing}: {text}"


def names_line(refusal: dict[str, Any], line: int) -> None:
    """The refusal names this line of a script, in words (`line 3`) or as a member (`"line": 3`)."""
    text = json.dumps(refusal, ensure_ascii=False)
    assert re.search(rf'line\\?"?\W{{0,4}}{line}\b', text, re.IGNORECASE), (
        f"the refusal doesn't name line {line}: {text}"
    )
