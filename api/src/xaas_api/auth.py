"""Who may call: a bearer token, or, on loopback without one, nobody but programs of this machine.

A server on loopback without a token is reached by every web page that this machine's browsers show.
Two checks keep pages out: the Host header must be a loopback name or address (a page that rebinds
its own name to 127.0.0.1 still sends that name), and an Origin, which browsers send with every
request that changes something and with every WebSocket, must be the server's own.

With a token every request needs it, on every address, but for the two probes, which tell nothing.

That is for the embedded server; on Kubernetes the cluster decides (`cluster_access.py`).
"""

import hmac
import ipaddress
import logging
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers

from xaas_api.errors import ApiError, ProblemType
from xaas_api.guard import Call, bearer_token

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Probes send no token."""

SHORT_TOKEN: Final = 16
"""A token of fewer characters can be guessed: the server says so when it starts."""

log = logging.getLogger(__name__)

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@]+)(:(?P<port>\d{1,5}))?")


class AccessError(ValueError):
    """A server that must not be started so; the text says what to do."""


@dataclass(frozen=True)
class Access:
    """What a request must bring. `token` is None only on a loopback address.

    Implements `xaas_api.guard.Doorkeeper`.
    """

    token: str | None = None

    async def admit(self, call: Call) -> None:
        """Raises ApiError for what is refused."""
        refused = self.refuse(call.path, call.headers)
        if refused is not None:
            raise refused

    def refuse(self, path: str, headers: Headers) -> ApiError | None:
        """Why a request is refused; None if it isn't."""
        if self.token is not None:
            return None if path in OPEN_PATHS else self._check_token(headers)
        return _check_origin(headers)

    def _check_token(self, headers: Headers) -> ApiError | None:
        assert self.token is not None
        given = bearer_token(headers)
        if hmac.compare_digest(given.encode("latin-1"), self.token.encode()):
            return None
        text = "send the server's token as `Authorization: Bearer <token>`"
        return ApiError(ProblemType.UNAUTHORIZED, text, headers={"www-authenticate": "Bearer"})


def _check_origin(headers: Headers) -> ApiError | None:
    hosts = headers.getlist("host")
    host = hosts[0].lower() if len(hosts) == 1 else ""
    if not is_loopback_host(host):
        text = f"Host {host!r} isn't a loopback address; call 127.0.0.1, [::1] or localhost"
        return ApiError(ProblemType.FORBIDDEN, text)
    for origin in headers.getlist("origin"):
        if origin.lower() not in (f"http://{host}", f"https://{host}"):
            text = f"Origin {origin!r} isn't this server; pages from elsewhere can't call it"
            return ApiError(ProblemType.FORBIDDEN, text)
    return None


def is_loopback_host(host: str) -> bool:
    """Whether a Host header (name or address, with or without port) means this machine itself."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["name"].strip("[]"))


def is_loopback(name: str) -> bool:
    """Whether a name or an address always means this machine itself."""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def read_token(file: Path) -> str:
    """The token in `file`. Raises AccessError."""
    try:
        token = file.read_text("utf-8").strip()
        mode = file.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise AccessError(f"the token file {file} can't be read: {error}") from None
    if mode & stat.S_IWOTH:
        raise AccessError(f"others can write the token file {file}; do: chmod 600 {file}")
    if not token or not token.isascii() or any(char.isspace() for char in token):
        raise AccessError(
            f"the token file {file} must hold one word of ASCII; "
            f"write one with: openssl rand -hex 32 > {file}"
        )
    if len(token) < SHORT_TOKEN:
        log.warning("the token in %s has only %d characters", file, len(token))
    return token


def access_for(host: str, token_file: Path | None) -> Access:
    """The access of a server on `host`. Raises AccessError for an open door to others."""
    if token_file is not None:
        return Access(read_token(token_file))
    if not is_loopback(host):
        raise AccessError(
            f"{host} can be reached from other machines, so a token is needed: "
            "give --token-file FILE, or use --host 127.0.0.1"
        )
    return Access()
