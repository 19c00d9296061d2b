"""Requests to the API server: plain JSON in and out.

The official client's asynchronous half does configuration, authentication and transport; its typed
models are left out (building one costs four times as much CPU as reading the JSON). Every error is
an `ApiError` with the server's own words; what couldn't be sent or answered is `Unreachable`.
"""

import asyncio
import json
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from xaas_kube import deep_json

Json = dict[str, Any]
Params = Mapping[str, str | int | bool | None]

_ESCAPE: Final = re.compile(
    r"\\\\|\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.ASCII | re.IGNORECASE
)
"""In a JSON text: an escaped backslash, which begins no other escape; or a surrogate pair."""

REQUEST_WITHIN: Final = 15.0
"""Seconds until a request counts as lost. The API server is told a little less."""

SERVER_WITHIN: Final = 12
"""Seconds that the API server may work on a request: after `REQUEST_WITHIN` it surely gave up."""

TRIES: Final = 5
LONGEST_RETRY: Final = 3.0
"""How often a request is sent that the API server has no time for, and seconds in between."""

LONGEST_HANDSHAKE: Final = 1.0
"""Seconds that whoever gives up a request waits for its connection to be made, and closed."""

CONNECTIONS: Final = 100
"""Requests under way at once; more wait for their turn."""

JSON: Final = "application/json"
YAML: Final = "application/yaml"
METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""To accept of each object its metadata only: in a list, and in a watch or as one."""

MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"


log = logging.getLogger(__name__)


class ApiError(Exception):
    """An answer that isn't 2xx. `reason` is Kubernetes' word for it: `NotFound`, `Conflict`, ..."""

    def __init__(self, code: int, reason: str, message: str, details: Json | None = None) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}

    @property
    def retry_after(self) -> float | None:
        """Seconds after which the server wants to be asked again."""
        seconds = self.details.get("retryAfterSeconds")
        return float(seconds) if isinstance(seconds, int | float) else None


class Unreachable(Exception):
    """No answer: the request may or may not have been carried out."""


class KubeClient:
    """Requests as one identity. From one event loop; made by `connect`, ended by `close`."""

    def __init__(self, configuration: Configuration) -> None:
        configuration.connection_pool_maxsize = CONNECTIONS
        # Otherwise every request looks for a ~/.netrc, and for a proxy that isn't the kubeconfig's.
        configuration.client_session_kwargs = {"trust_env": False}
        self._configuration = configuration
        self._api = ApiClient(configuration)
        self.sent: Counter[tuple[str, str]] = Counter()
        """Requests so far, by verb and resource as RBAC names them: `("patch", "pods/log")`."""

    @classmethod
    async def connect(cls, kubeconfig: Path | None = None) -> Self:
        """Access as in `kubeconfig`, or of the pod that we are in.

        Raises Unreachable if there is no usable configuration.
        """
        configuration = Configuration()
        try:
            if kubeconfig is None:
                config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            else:
                await config.load_kube_config(  # type: ignore[no-untyped-call]
                    str(kubeconfig), client_configuration=configuration, persist_config=False
                )
        except (config.ConfigException, OSError) as error:
            raise Unreachable(f"no access to a cluster: {error}") from error
        return cls(configuration)

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()  # type: ignore[no-untyped-call]
        # The sockets of watches that were cut off are closed by the loop, some turns later.
        for _ in range(3):
            await asyncio.sleep(0)

    async def get(self, path: str, params: Params | None = None, accept: str = JSON) -> Json:
        """An object, or a list."""
        return await self._json("GET", path, params, accept=accept)

    async def create(self, path: str, body: Json, params: Params | None = None) -> Json:
        """POST; the answer is the object as it was stored."""
        return await self._json("POST", path, params, body)

    async def create_plainly(self, path: str, body: Json) -> Json:
        """POST of an object of which the API server would keep a part byte by byte as it was sent.

        Sent as YAML (which JSON is) it is written anew by the server, in the server's own way: only
        then may others write the object's metadata, who send back what they read.
        """
        text = json.dumps(body, ensure_ascii=True, separators=(",", ":"))
        # The one thing of JSON that isn't YAML: a character as two halves of a surrogate pair.
        plain = _ESCAPE.sub(_as_yaml, text)
        return await self._json("POST", path, None, plain, content=YAML)

    async def replace(self, path: str, body: Json) -> Json:
        """PUT: guarded if `body` has a resourceVersion."""
        return await self._json("PUT", path, None, body)

    async def patch(self, path: str, body: Any, content_type: str = MERGE_PATCH) -> Json:
        """PATCH: a merge patch is guarded if it has a resourceVersion."""
        return await self._json("PATCH", path, None, body, content=content_type)

    async def delete(self, path: str, options: Json | None = None) -> Json:
        """DELETE; `options` are Kubernetes' DeleteOptions."""
        return await self._json("DELETE", path, None, options)

    async def text(self, path: str, params: Params | None = None) -> AsyncIterator[bytes]:
        """The content at `path`, as it comes: a container's log."""
        async with self._response(_Call("GET", path, params, read_within=None)) as response:
            async for chunk in response.content.iter_any():
                yield chunk

    async def watch(
        self, path: str, params: Params, quiet: float, accept: str = JSON
    ) -> AsyncIterator[Json]:
        """Events of a list, as they come: `{type, object}`.

        Ends when the server ends it; Unreachable after `quiet` seconds without any event, for a
        connection that is dead says nothing.
        """
        told = {**params, "watch": True}
        call = _Call("GET", path, told, accept=accept, read_within=quiet)
        async with self._response(call) as response:
            # Lines may be longer than any reader's limit: they are put together here.
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield deep_json.loads(line)

    async def _json(
        self,
        method: str,
        path: str,
        params: Params | None,
        body: Any = None,
        *,
        content: str = JSON,
        accept: str = JSON,
    ) -> Json:
        told = params if method == "GET" else {**(params or {}), "timeout": f"{SERVER_WITHIN}s"}
        call = _Call(method, path, told, body, content, accept)
        left = TRIES
        while True:
            left -= 1
            try:
                began = time.perf_counter()
                async with self._response(call) as response:
                    found: Json = deep_json.loads(await response.read())
                log.debug("%s %s: %.1f ms", method, path, 1000 * (time.perf_counter() - began))
                return found
            except ApiError as error:
                log.debug("%s %s: %s", method, path, error)
                if error.code != 429 or left == 0:
                    raise
                # Nothing was done; the server has too much to do, and says when it may have less.
                await asyncio.sleep(min(error.retry_after or 1.0, LONGEST_RETRY))

    @asynccontextmanager
    async def _response(self, call: "_Call") -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a request; closed, or given back for the next one, at the end."""
        self.sent[verb_and_resource(call.method, call.path, call.params)] += 1
        headers = {"Accept": call.accept, "Content-Type": call.content}
        try:
            await self._api.update_params_for_auth(
                headers, [], ["BearerToken"], call.path, call.method, call.body
            )
            async with await self._sent(call, headers) as response:
                if response.status >= 300:
                    raise _error(response.status, await response.read())
                try:
                    yield response
                finally:
                    _cut_off(response)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            text = str(error) or type(error).__name__
            raise Unreachable(f"the API server doesn't answer: {text}") from error

    async def _sent(self, call: "_Call", headers: dict[str, str]) -> aiohttp.ClientResponse:
        """The answer to a call, as soon as its head is here."""
        request = asyncio.ensure_future(
            self._api.rest_client.request(  # type: ignore[no-untyped-call]
                call.method,
                self._configuration.host + call.path + _query(call.params),
                headers=headers,
                body=call.body,
                _request_timeout=call.timeout(),
            )
        )
        try:
            answer = await asyncio.shield(request)
        except asyncio.CancelledError:
            # A connection that is cut off while it is being made would stay open for a minute.
            done, _ = await asyncio.wait([request], timeout=LONGEST_HANDSHAKE)
            if done and request.exception() is None:
                request.result().response.close()
            request.cancel()
            raise
        response: aiohttp.ClientResponse = answer.response
        return response


@dataclass(frozen=True)
class _Call:
    """A request. `read_within`: seconds between two pieces of a stream; None: any time."""

    method: str
    path: str
    params: Params | None
    body: Any = None
    content: str = JSON
    accept: str = JSON
    read_within: float | None = REQUEST_WITHIN

    def timeout(self) -> aiohttp.ClientTimeout:
        streams = self.read_within != REQUEST_WITHIN
        return aiohttp.ClientTimeout(
            total=None if streams else REQUEST_WITHIN,
            sock_connect=REQUEST_WITHIN,
            sock_read=self.read_within,
        )


_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}

_PLACE: Final = re.compile(
    r"/(?:api/v1|apis/[^/]+/[^/]+)(?:/namespaces/[^/]+(?=/))?/(?P<of>[^/]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<part>.+))?)?"
)


def verb_and_resource(method: str, where: str, params: Params | None) -> tuple[str, str]:
    """What RBAC calls a request: `("list", "jobs")`, `("patch", "pipelineruns/status")`."""
    found = _PLACE.fullmatch(where)
    if found is None:
        return (method.lower(), where)
    resource, name, part = found["of"], found["name"], found["part"]
    verb = _VERBS.get(method, "get" if name else "list")
    if verb == "list" and (params or {}).get("watch"):
        verb = "watch"
    return (verb, f"{resource}/{part}" if part else resource)


def _cut_off(response: aiohttp.ClientResponse) -> None:
    """Close the connection of a stream that isn't at its end: there is nobody to say good-bye to."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


def _as_yaml(escape: re.Match[str]) -> str:
    high, low = escape.groups()
    if high is None:
        return escape[0]
    return f"\\U{0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00):08x}"


def _query(params: Params | None) -> str:
    if not params:
        return ""
    shown = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in params.items()
        if value is not None
    }
    return "?" + urlencode(shown)


def _error(code: int, content: bytes) -> ApiError:
    try:
        status = json.loads(content)
        return ApiError(
            code,
            str(status.get("reason") or code),
            str(status.get("message") or ""),
            status.get("details") or {},
        )
    except (ValueError, AttributeError):
        return ApiError(code, str(code), content[:500].decode(errors="replace"))
