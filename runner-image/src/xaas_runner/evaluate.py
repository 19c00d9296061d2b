"""The evaluator: checks scripts and evaluates conditions, in children that are bounded.

A process of its own, because neither a server nor the reconciler may compile or run what a user
wrote. Started, with an empty environment, as

    <python> -I -S <folder of xaas_runner> evaluate --fd <number> [--path <folder>]...
    <python> -I -S <folder of xaas_runner> evaluate --socket <path> [--path <folder>]...

with one end of a `socket.socketpair()` inherited as `<number>`, or listening on a Unix socket (a
sidecar of several containers; whoever may enter the socket's folder may connect). Each `--path`
is a folder to import from. It ends on SIGTERM, and with `--fd` when the other end closes.

Messages are JSON, one a line, in UTF-8, both ways; several requests may be under way at once, and
answers come in any order. Upon connecting the evaluator says {"event": "ready", "protocol": 1}.

    {"id": any, "call": "check",
     "scripts": [{"source": str, "kind": "script"|"condition", "allowed_imports": [str]}]}
        -> {"id": …, "results": [null | {"reason": str, "line": int|null}, …]}   one per script

    {"id": any, "call": "evaluate", "source": str, "allowed_imports": [str],
     "objects": {"params": {…}, "tasks": {ref: state}}}
        -> {"id": …, "value": bool|null, "error": null | ErrorInfo}
           value: whether the condition's value is true; null when there is an error

    {"id": any, "call": "ping"} -> {"id": …, "pong": true}

A request that can't be understood: {"id": … or null, "refused": str}.
One that the machine has no process for, which may pass: {"id": …, "unavailable": str}.

Every evaluation is one forked child: CONDITION_CPU_S of CPU time, CONDITION_MEMORY_BYTES beyond
what the interpreter has, CONDITION_WALL_S by the clock (not counting a machine that is too busy to
run it), no sockets, no files but Python's own. A batch of checks is one child with more generous
limits; if one script brings the child down, that script gets the blame and the rest of the batch
goes on in another. At most MAX_CHILDREN at once; others wait.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

from xaas_runner import lockdown, sandbox
from xaas_runner.bounded import NO_PROCESS, BoundedChildren, Bounds, Work
from xaas_runner.contract import MAX_MESSAGE_BYTES, PROTOCOL, ErrorInfo
from xaas_runner.lines import LineSocket
from xaas_runner.nursery import Nursery, settle
from xaas_runner.params import from_text
from xaas_runner.seccomp import Network

CONDITION_CPU_S: Final = 1
CONDITION_MEMORY_BYTES: Final = 64 * 1024 * 1024
CONDITION_WALL_S: Final = 2.0
CHECK_CPU_S: Final = 10
CHECK_MEMORY_BYTES: Final = 512 * 1024 * 1024
CHECK_WALL_S: Final = 20.0
MAX_CHILDREN: Final = 8
"""Children at once: more would only share the machine's cores, and each has its memory."""

_MAX_LINE_BYTES: Final = 2 * MAX_MESSAGE_BYTES
_MAX_TEXT: Final = 16 * 1024
_SEND_S: Final = 5.0


class _Client:
    """One connection."""

    def __init__(self, stream: socket.socket) -> None:
        stream.settimeout(_SEND_S)  # one that doesn't read must not hold up the others
        self.stream = stream
        self.lines = LineSocket(stream, _MAX_LINE_BYTES)
        self.open = True


_CONDITION: Final = Bounds("condition", CONDITION_CPU_S, CONDITION_MEMORY_BYTES, CONDITION_WALL_S)
_CHECK: Final = Bounds("compilation", CHECK_CPU_S, CHECK_MEMORY_BYTES, CHECK_WALL_S)


class Evaluator:
    """Serves its clients; see the module's text."""

    def __init__(self) -> None:
        self.nursery = Nursery()
        self._children = BoundedChildren(self.nursery, MAX_CHILDREN)

    def add(self, stream: socket.socket, gone: Callable[[], None]) -> None:
        """Serve a connection; `gone` is called when its other end closes."""
        client = _Client(stream)
        self.nursery.watch(stream, lambda: self._read(client, gone))
        self._say(client, {"event": "ready", "protocol": PROTOCOL})

    def serve(self) -> None:
        """Serve until stopped; then no child is left."""
        self.nursery.run()
        self._children.kill_all()

    def _read(self, client: _Client, gone: Callable[[], None]) -> None:
        try:
            lines = client.lines.receive()
        except (OSError, ValueError):
            lines = None
        if lines is None:
            client.open = False
            self.nursery.unwatch(client.stream)
            client.stream.close()
            gone()
            return
        for line in lines:
            self._answer(client, line)

    def _say(self, client: _Client, message: dict[str, Any]) -> None:
        if client.open:
            try:
                client.lines.send(json.dumps(message).encode())
            except OSError:
                # What was sent of the line can't be taken back; its end is read next.
                client.open = False
                client.stream.shutdown(socket.SHUT_RDWR)

    def _answer(self, client: _Client, line: bytes) -> None:
        id: Any = None
        try:
            request = from_text(line)
            id = request["id"]
            call = request["call"]
            if call == "check":
                self._check(client, id, [_script(item) for item in request["scripts"]])
            elif call == "evaluate":
                self._evaluate(client, id, request)
            elif call == "ping":
                self._say(client, {"id": id, "pong": True})
            else:
                self._say(client, {"id": id, "refused": f"unknown call {call!r}"})
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self._say(client, {"id": id, "refused": f"{type(error).__name__}: {error}"})

    # --- the two calls ---

    def _check(self, client: _Client, id: Any, scripts: list[tuple[str, str, list[str]]]) -> None:
        results: list[Any] = []

        def start() -> None:
            rest = scripts[len(results) :]
            if not rest:
                self._say(client, {"id": id, "results": results})
                return
            self._children.start(Work(_CHECK, lambda say: _check_each(rest, say), ended))

        def ended(lines: list[Any], blame: ErrorInfo) -> None:
            if blame["type"] == NO_PROCESS:
                self._say(client, {"id": id, "unavailable": blame["message"]})
                return
            results.extend(lines[: len(scripts) - len(results)])
            if len(results) < len(scripts):
                results.append({"reason": blame["message"], "line": None})
            start()

        start()

    def _evaluate(self, client: _Client, id: Any, request: dict[str, Any]) -> None:
        source, objects = request["source"], dict(request["objects"])
        imports = [str(name) for name in request.get("allowed_imports") or []]
        if not isinstance(source, str):
            raise TypeError("source must be a text")

        def ended(lines: list[Any], blame: ErrorInfo) -> None:
            match lines:
                case [{"value": bool() | None as value, "error": dict() | None as error}]:
                    self._say(client, {"id": id, "value": value, "error": error})
                case _ if blame["type"] == NO_PROCESS:
                    self._say(client, {"id": id, "unavailable": blame["message"]})
                case _:
                    self._say(client, {"id": id, "value": None, "error": blame})

        self._children.start(
            Work(_CONDITION, lambda say: _evaluate_one(source, imports, objects, say), ended)
        )


def _script(item: dict[str, Any]) -> tuple[str, str, list[str]]:
    source, kind = item["source"], item["kind"]
    if not isinstance(source, str) or kind not in ("script", "condition"):
        raise ValueError("a script needs a source (text) and a kind (script or condition)")
    return source, kind, [str(name) for name in item.get("allowed_imports") or []]


# --- in the child ---


def _check_each(scripts: list[tuple[str, str, list[str]]], say: Callable[[Any], None]) -> None:
    for source, kind, imports in scripts:
        compile_one = sandbox.compile_script if kind == "script" else sandbox.compile_condition
        try:
            compile_one(source, allowed_imports=imports)
            result = None
        except sandbox.PolicyError as error:
            result = {"reason": _text(error.reason), "line": error.line}
        except MemoryError:
            result = {"reason": _CHECK.memory_message(), "line": None}
        except Exception as error:  # noqa: BLE001 - the parser's and the compiler's own limits
            reason = f"it can't be compiled: {type(error).__name__}: {error}"
            result = {"reason": _text(reason), "line": None}
        say(result)


def _evaluate_one(
    source: str, imports: list[str], objects: dict[str, Any], say: Callable[[Any], None]
) -> None:
    program: sandbox.Program | None = None
    answer: dict[str, Any]
    try:
        program = sandbox.compile_condition(source, allowed_imports=imports)
        scope = sandbox.scope(program, objects, write=lambda text: None)
        answer = {"value": bool(sandbox.run(program, scope)), "error": None}
    except BaseException as error:  # noqa: BLE001 - whatever it raises, it is the answer
        answer = {"value": None, "error": _error(error, program)}
    lockdown.release_headroom()
    say(answer)


def _error(error: BaseException, program: sandbox.Program | None) -> ErrorInfo:
    if isinstance(error, sandbox.PolicyError) and program is None:
        return {"type": "PolicyError", "message": _text(error.reason), "line": error.line}
    lockdown.release_headroom()
    if program is None:
        return {"type": type(error).__name__, "message": "the condition can't be compiled"}
    info = sandbox.describe_error(error, program)
    if isinstance(error, MemoryError):
        info["message"] = _CONDITION.memory_message()
    info["type"], info["message"] = _text(info["type"]), _text(info["message"])
    info["traceback"] = [_text(line) for line in (info.get("traceback") or [])[:100]]
    return info


def _text(text: str) -> str:
    return text[:_MAX_TEXT].encode("utf-8", "backslashreplace").decode()


# --- the process ---


def _listen(path: str) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Open to all who reach the folder: it is the folder that is shared or not.
    mask = os.umask(0)
    try:
        listener.bind(path)
    finally:
        os.umask(mask)
    listener.listen(64)
    return listener


def main(arguments: list[str]) -> int:
    """Run an evaluator; see the module's text."""
    parser = argparse.ArgumentParser(prog="xaas_runner evaluate")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--fd", type=int)
    where.add_argument("--socket")
    parser.add_argument("--path", action="append", default=[])  # read by __main__
    chosen = parser.parse_args(arguments)
    os.environ.clear()
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    sys.set_int_max_str_digits(0)
    evaluator = Evaluator()
    evaluator.nursery.on_signal(signal.SIGTERM, evaluator.nursery.stop)
    lockdown.prepare(Network.NONE)
    settle()
    if chosen.fd is not None:
        stream = socket.socket(fileno=chosen.fd)
        stream.set_inheritable(False)
        evaluator.add(stream, evaluator.nursery.stop)
    else:
        listener = _listen(chosen.socket)

        def accept() -> None:
            stream, _ = listener.accept()
            evaluator.add(stream, lambda: None)

        evaluator.nursery.watch(listener, accept)
    evaluator.serve()
    return 0
