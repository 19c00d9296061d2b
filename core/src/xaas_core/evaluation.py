"""Talks with an evaluator, the process of the runner's package that compiles users' sources.

Embedded it is a child of the server, on Kubernetes a container beside it; the messages are the same
(`xaas_runner.evaluate`). Where they go through is a `Channel`.
"""

import asyncio
import hashlib
import itertools
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from xaas_core.engine.records import Failure
from xaas_core.ports import Evaluation, Finding, Script, ScriptKind, Unavailable

TRIES: Final = 3
"""Processes that may end under a request before it is given up."""

KEPT_CHECKS: Final = 10_000
"""Results of checks that are kept: some hundred bytes each."""

_BATCH_BYTES: Final = 1024 * 1024


Message = Mapping[str, Any]


class Channel(Protocol):
    """The way to an evaluator's process and back."""

    async def ready(self) -> None:
        """Wait until there is somebody to talk to. Raises Unavailable."""

    def send(self, message: Message) -> bool:
        """Send a message; False if there is nobody to hear it."""


class _Lost(Exception):
    """The process ended before it had answered."""


class EvaluatorClient:
    """Implements `xaas_core.ports.Evaluator` over a channel. From one event loop.

    The channel's owner calls `hear` for what the process says, and `lost` when it is gone.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._numbers = itertools.count(1)
        self._checked: OrderedDict[str, Finding | None] = OrderedDict()

    async def check(self, scripts: Sequence[Script]) -> Sequence[Finding | None]:
        """See the port. What was checked before is remembered."""
        digests = [_digest(script) for script in scripts]
        known = {digest: self._checked[digest] for digest in digests if digest in self._checked}
        unknown = {
            digest: script
            for digest, script in zip(digests, scripts, strict=True)
            if digest not in known
        }
        for batch in _batches(unknown):
            request = [_described(unknown[digest]) for digest in batch]
            answer = await self._ask({"call": "check", "scripts": request})
            if "refused" in answer:
                raise Unavailable(f"the evaluator doesn't understand: {answer['refused']}")
            for digest, result in zip(batch, answer["results"], strict=True):
                known[digest] = finding = _finding(result)
                # Without a line it may be the machine's fault: next time it may do.
                if finding is None or finding.line is not None:
                    self._checked[digest] = finding
        for digest in digests:
            if digest in self._checked:
                self._checked.move_to_end(digest)
        while len(self._checked) > KEPT_CHECKS:
            self._checked.popitem(last=False)
        return [known[digest] for digest in digests]

    async def evaluate(
        self, condition: Script, params: Mapping[str, Any], tasks: Mapping[str, str]
    ) -> Evaluation:
        """See the port."""
        answer = await self._ask(
            {
                "call": "evaluate",
                "source": condition.source,
                "allowed_imports": condition.allowed_imports,
                "objects": {"params": dict(params), "tasks": dict(tasks)},
            }
        )
        if "refused" in answer:
            return Evaluation(False, Failure("Error", str(answer["refused"])))
        error = answer.get("error")
        if error is None:
            return Evaluation(bool(answer["value"]))
        traceback = tuple(error.get("traceback") or ())
        failure = Failure(error["type"], error["message"], None, error.get("line"), traceback)
        return Evaluation(False, failure)

    async def _ask(self, request: Mapping[str, Any]) -> Message:
        for _ in range(TRIES):
            await self._channel.ready()
            number = next(self._numbers)
            answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
            self._waiting[number] = answer
            try:
                if self._channel.send({"id": number, **request}):
                    return _available(await answer)
            except _Lost:
                continue
            finally:
                del self._waiting[number]
        raise Unavailable("the evaluator's process ended again and again; see the server's log")

    def hear(self, message: Message) -> None:
        """The process has answered."""
        answer = self._waiting.get(message.get("id") or 0)
        if answer is not None and not answer.done():
            answer.set_result(message)

    def lost(self) -> None:
        """The process is gone: what it was asked has no answer."""
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_Lost())


def _available(answer: Message) -> Message:
    if "unavailable" in answer:
        raise Unavailable(f"the evaluator can't work now: {answer['unavailable']}")
    return answer


def _digest(script: Script) -> str:
    whole = json.dumps([script.kind, script.allowed_imports, script.source])
    return hashlib.sha256(whole.encode()).hexdigest()


def _described(script: Script) -> dict[str, Any]:
    kind = "script" if script.kind is ScriptKind.SCRIPT else "condition"
    return {
        "source": script.source,
        "kind": kind,
        "allowed_imports": script.allowed_imports,
    }


def _finding(result: Mapping[str, Any] | None) -> Finding | None:
    return None if result is None else Finding(result["reason"], result.get("line"))


def _batches(scripts: Mapping[str, Script]) -> Iterator[list[str]]:
    """Digests in batches whose sources fit a message well."""
    batch: list[str] = []
    size = 0
    for digest, script in scripts.items():
        length = len(script.source) + 100  # and what is around it
        if batch and size + length > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(digest)
        size += length
    if batch:
        yield batch
