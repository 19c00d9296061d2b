"""Tokens: what lets a runner speak for its attempt, and for nothing else."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass

from xaas_core.engine.states import Side
from xaas_core.ports import RunnerKey


@dataclass(frozen=True)
class IdleRunner:
    """A runner that isn't anybody's yet, by the place where its backend keeps it."""

    namespace: str
    name: str


class Tokens:
    """Issues and reads tokens: the runner's name, signed (HMAC-SHA256) with the server's key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def issue(self, runner: RunnerKey) -> str:
        """The token of one runner."""
        claims = [runner.run, runner.ref, runner.side, runner.attempt, runner.launch]
        text = json.dumps(claims, separators=(",", ":")).encode()
        return _encode(text) + "." + _encode(self._sign(text))

    def issue_idle(self, idle: IdleRunner) -> str:
        """The token of an idle runner: it opens the question whether there is work."""
        text = json.dumps([idle.namespace, idle.name], separators=(",", ":")).encode()
        return _encode(text) + "." + _encode(self._sign(text))

    def read(self, token: str) -> RunnerKey | IdleRunner | None:
        """Whose token it is; None if it isn't one of ours."""
        try:
            text, signature = (_decode(part) for part in token.split("."))
        except ValueError:
            return None
        if not hmac.compare_digest(signature, self._sign(text)):
            return None
        claims = json.loads(text)
        if len(claims) == 2:
            return IdleRunner(*claims)
        run, ref, side, attempt, launch = claims
        return RunnerKey(run, ref, Side(side), attempt, launch)

    def _sign(self, text: bytes) -> bytes:
        return hmac.new(self._key, text, hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
