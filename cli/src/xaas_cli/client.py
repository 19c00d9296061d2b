"""The one door to the server: REST, as docs/contract.md has it.

Answers are JSON objects as they came. A refusal raises `Refused` with the server's problem details,
no answer at all `Unreachable`.
"""

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import httpx

from xaas_cli.failures import Failure, Misuse, Refused, Unreachable

Json = dict[str, Any]

DEFAULT_SERVER: Final = "http://127.0.0.1:8080"

CONNECT_S: Final = 5.0
ANSWER_S: Final = 30.0
"""Longest wait for an answer: the server itself decides an operation within 10 s or says it can't."""

PAGE: Final = 200
"""Objects asked for at a time when a whole list is read."""

FULL_ID: Final = 36


class Api:
    """A connection to one server, in one namespace (None: the server's own default)."""

    def __init__(self, server: str, token: str | None = None, namespace: str | None = None) -> None:
        self.server = _address(server)
        self.namespace = namespace
        headers = {"user-agent": "xaas-cli"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        self._http = httpx.Client(
            base_url=self.server,
            headers=headers,
            params={"namespace": namespace} if namespace else None,
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            # Following many logs at once takes a connection each.
            limits=httpx.Limits(max_connections=None),
            # A proxy of the environment's can't reach a server of this machine.
            trust_env=not _is_loopback(self.server),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # Definitions: `kind` is the collection's name in a path, `pipelines` or `pipelinetasks`.

    def definition(self, kind: str, name: str, namespace: str | None = None) -> Json:
        """A Pipeline or PipelineTask. Raises Refused (404)."""
        return self._object("GET", f"/{kind}/{escaped(name)}", **_in(namespace))

    def versioned(self, kind: str, name: str, namespace: str | None) -> tuple[Json, str | None]:
        """As `definition`, with its ETag."""
        response = self._answer("GET", f"/{kind}/{escaped(name)}", **_in(namespace))
        return self._read(response), response.headers.get("etag")

    def create(self, kind: str, body: Json, namespace: str | None = None) -> Json:
        """POST a definition."""
        return self._object("POST", f"/{kind}", json=body, **_in(namespace))

    def replace(
        self, kind: str, body: Json, version: str | None, namespace: str | None = None
    ) -> Json:
        """PUT a definition, if it still has the ETag `version`."""
        headers = {"if-match": version} if version else {}
        path = f"/{kind}/{escaped(str(body['name']))}"
        return self._object("PUT", path, json=body, headers=headers, **_in(namespace))

    def delete(self, path: str, *, force: bool = False) -> None:
        """DELETE what is at `path`."""
        self._answer("DELETE", path, params={"force": "true"} if force else {})

    def items(
        self,
        kind: str,
        filters: Mapping[str, str] | None = None,
        *,
        limit: int | None = None,
        namespace: str | None = None,
    ) -> Iterator[Json]:
        """Objects of a collection, newest first, read page by page; at most `limit`."""
        left = limit
        params: dict[str, str] = dict(filters or {})
        if namespace:
            params["namespace"] = namespace
        while left is None or left > 0:
            params["limit"] = str(PAGE if left is None else min(left, PAGE))
            page = self._object("GET", f"/{kind}", params=params)
            yield from page["items"]
            if left is not None:
                left -= len(page["items"])
            if not page.get("continue"):
                return
            params["continue"] = page["continue"]

    # Runs

    def create_run(
        self, body: Json, *, key: str | None = None, namespace: str | None = None
    ) -> Json:
        """POST a run; the same `key` and body give the same run again."""
        headers = {"idempotency-key": key} if key else {}
        return self._object("POST", "/pipelineruns", json=body, headers=headers, **_in(namespace))

    def run(self, id: str) -> Json:
        """A run, by its whole id."""
        return self._object("GET", f"/pipelineruns/{escaped(id)}")

    def tasks(self, id: str) -> list[Json]:
        """A run's task runs, both sides."""
        path = f"/pipelineruns/{escaped(id)}/tasks"
        items: list[Json] = self._object("GET", path)["items"]
        return items

    def operate(self, id: str, operation: str) -> Json:
        """Ask for run, cancel, recovery or rollback; returns the run once it is decided."""
        path = f"/pipelineruns/{escaped(id)}"
        return self._object("PATCH", path, json={"operation": operation})

    def suspend(self, id: str, value: bool) -> Json:
        """Hold a run, or let it go on."""
        return self._object("PATCH", f"/pipelineruns/{escaped(id)}", json={"suspend": value})

    def find_run(self, start: str) -> str:
        """The whole id of the run whose id begins so. Raises Failure if it isn't exactly one."""
        if len(start) >= FULL_ID or not start:
            return start
        try:
            return str(self.run(start)["instance_id"])
        except Refused as refused:
            if refused.status != 404:
                raise
        found = [run for run in self.items("pipelineruns") if run["instance_id"].startswith(start)]
        if len(found) == 1:
            return str(found[0]["instance_id"])
        if not found:
            raise Failure(f"No run's id begins with {start!r}. `xaas get runs` lists them.")
        listed = "\n".join(f"  {run['instance_id']}  {run['name']}" for run in found[:10])
        raise Failure(f"{len(found)} runs' ids begin with {start!r}; write more of it:\n{listed}")

    # Texts and streams

    def lines(self, path: str, params: Mapping[str, str] | None = None) -> Iterator[str]:
        """The lines of a text as they come, for as long as the server sends."""
        with self.stream(path, params) as response:
            try:
                yield from response.iter_lines()
            except httpx.HTTPError as error:
                raise self.unreachable(error) from error

    def stream(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> "Stream":
        """An answer that is read while it comes; a context manager."""
        request = self._http.build_request(
            "GET",
            path,
            params=params or None,
            headers=headers,
            timeout=httpx.Timeout(None, connect=CONNECT_S),
        )
        return Stream(self, self._http, request)

    def ready(self) -> bool:
        """Whether the server is up and ready."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def unreachable(self, error: httpx.HTTPError) -> Unreachable:
        """The failure to tell for `error`."""
        return Unreachable(self.server, _why(error))

    def _object(self, method: str, path: str, **options: Any) -> Json:
        return self._read(self._answer(method, path, **options))

    def _read(self, response: httpx.Response) -> Json:
        try:
            value = response.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Failure(
                f"{response.request.method} {response.url} gave something else than a JSON object; "
                "is it an xaas server?"
            )
        return value

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        except UnicodeEncodeError:
            raise Misuse("a text holds half of a surrogate pair, which isn't Unicode") from None
        check(response)
        return response


class Stream:
    """An answer under way; raises as `Api` does when it is entered."""

    def __init__(self, api: Api, http: httpx.Client, request: httpx.Request) -> None:
        self._api = api
        self._http = http
        self._request = request
        self._response: httpx.Response | None = None

    def __enter__(self) -> httpx.Response:
        try:
            response = self._http.send(self._request, stream=True)
            if response.is_error:
                response.read()
                response.close()
        except httpx.HTTPError as error:
            raise self._api.unreachable(error) from error
        check(response)
        self._response = response
        return response

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._response is not None:
            self._response.close()


def escaped(name: str) -> str:
    """A name as one segment of a path: `/` becomes %2F."""
    return quote(name, safe="")


def check(response: httpx.Response) -> None:
    """Raise Refused if the response is an error."""
    if not response.is_error:
        return
    try:
        problem = response.json()
    except ValueError:
        problem = None
    raise Refused(response.status_code, problem if isinstance(problem, dict) else {})


def _address(server: str) -> str:
    """The server's address in full. Raises Misuse."""
    address = server if "://" in server else f"http://{server}"
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise Misuse(f"{server!r} is no address of a server; write http://HOST:PORT")
    return address.rstrip("/")


def _is_loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _in(namespace: str | None) -> dict[str, Any]:
    return {"params": {"namespace": namespace}} if namespace else {}


def _why(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.ConnectError) and "refused" in str(error):
        return "connection refused"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__
