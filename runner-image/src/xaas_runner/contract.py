"""What a runner and the gateway say to each other, and the names in a runner's environment.

The one module of this package that others import. Messages are JSON over HTTP/1.1, on TCP or on a
Unix socket. Every call is a POST with `Authorization: Bearer <token>`; the token opens exactly one
attempt of one task run. A call may be repeated: the answer is the same, nothing happens twice.

    wait    may I begin this step?      go | wait | leave
    begin   I begin this step now.      go (with script and params) | wait | leave
    finish  it ended like this.         recorded | leave
    child   run something for me.       see `ChildCall`

A *delta* is the list of changes that a script made to `params`, in the order to apply them:

    {"op": "set", "path": ["a", "b"], "value": <JSON>}    missing or non-object parents become {}
    {"op": "delete", "path": ["a", "b"]}                  a missing path is no error
    {"op": "order", "path": ["a"], "keys": ["y", "x"]}    the key order of the object at path

Paths hold object keys only: a list is one value. An empty path is the whole of `params`, and occurs
with `order` only.

Written so, the paths can be many times longer than the values. A runner whose delta wouldn't fit a
message bundles it; the gateway takes the bundles apart, and keeps the changes above:

    {"op": "sets", "values": {"a": {"b": 1, "c": {}}}}    sets a.b to 1 and a.c to {}: each leaf
    {"op": "deletes", "keys": {"a": {"b": null}}}         deletes a.b, likewise

A leaf of `values` is whatever isn't an object, and an empty object; one of `keys` is null.
"""

from enum import StrEnum
from typing import Any, Final, Literal, NotRequired, TypedDict

PROTOCOL: Final = 1
"""Version of this contract; sent by the runner in the header `X-Xaas-Protocol`.

The gateway speaks this version and the one before.
"""

WAIT_PATH: Final = "/v1/wait"
BEGIN_PATH: Final = "/v1/begin"
FINISH_PATH: Final = "/v1/finish"
CHILD_PATH: Final = "/v1/child"

MAX_PARAMS_BYTES: Final = 1024 * 1024
"""Largest `params`, as compact JSON in UTF-8: 1 MiB, so that a task run fits in etcd's object."""

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Largest body either side accepts."""

MAX_DELTA_WEIGHT: Final = 16 * 1024 * 1024
"""Most that the single changes of one step may weigh together (see `weight`)."""

LAST_EXIT: Final = 10
"""Exit code of a step after which no other follows. A hint, as 0 is: `begin` decides."""


class Environment(StrEnum):
    """Names in the environment of a runner that is a container of its own."""

    GATEWAY = "XAAS_GATEWAY"  # http://<ip>:<port>, or unix:<path of the socket>
    TOKEN = "XAAS_TOKEN"  # opens one attempt
    STEP = "XAAS_STEP"  # index of the step, from 0
    MAX_WAIT = "XAAS_MAX_WAIT"  # seconds to wait for a turn that may never come; then it leaves
    SECRETS = "XAAS_SECRETS"  # a folder with the values of the task's `secrets`, in files 0, 1, ...
    SECRET_NAMES = "XAAS_SECRET_NAMES"  # their names, in the same order, as a JSON list


class Answer(StrEnum):
    """The gateway's decisions."""

    GO = "go"  # begin: you have begun, once; wait: begin now
    WAIT = "wait"  # not yet: ask again
    LEAVE = "leave"  # never: end without doing anything
    RECORDED = "recorded"  # the outcome is durable


class Outcome(StrEnum):
    """How a script ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


class ErrorInfo(TypedDict):
    """An error as the user sees it. `line` counts from 1 in the step's own script."""

    type: str
    message: str
    line: NotRequired[int | None]
    traceback: NotRequired[list[str]]


class DeltaOp(TypedDict):
    """One change to `params`; see the module's text."""

    op: Literal["set", "delete", "order"]
    path: list[str]
    value: NotRequired[Any]
    keys: NotRequired[list[str]]


class Bundle(TypedDict):
    """Many changes of one kind in one, on the way to the gateway; see the module's text."""

    op: Literal["sets", "deletes"]
    values: NotRequired[dict[str, Any]]
    keys: NotRequired[dict[str, Any]]


def weight(path: list[str]) -> int:
    """What the change of this path takes beside its value: bundles must not unfold without end."""
    return 64 + sum(map(len, path))


class Context(TypedDict):
    """What a script reads as `context.<name>`."""

    run_id: str
    pipeline: str
    ref: str
    task: str
    process_type: Literal["do", "undo"]
    step: int
    attempt: int
    namespace: str


class WaitCall(TypedDict):
    """POST /v1/wait; held open up to `patience_ms` while the answer would be `wait`."""

    step: int
    patience_ms: int


class BeginCall(TypedDict):
    """POST /v1/begin.

    `nonce` is drawn once per process. The same nonce gets the same answer again; another is
    told to leave: this makes a step's script begin at most once per attempt even where a pod is
    started twice. `runner` names the process or the pod's uid.
    """

    step: int
    nonce: str
    runner: str


class BeginAnswer(TypedDict):
    """Answer to wait and begin. All but `answer` and `reason` come with begin's `go` only."""

    answer: Literal["go", "wait", "leave"]
    reason: NotRequired[str]
    token: NotRequired[str]  # wait's go, for an idle runner: opens the attempt that it is for now
    early: NotRequired[bool]  # wait: this attempt isn't intended yet, and may never be
    script: NotRequired[str]
    params: NotRequired[dict[str, Any]]
    context: NotRequired[Context]
    allowed_imports: NotRequired[list[str]]
    budget_ms: NotRequired[int | None]  # what is left of the attempt's timeout


class FinishCall(TypedDict):
    """POST /v1/finish: the complete record of a step.

    `elapsed_ms` is the time between begin's answer and the script's end by the runner's own
    clock: a script that ended in time counts however late this arrives. `terminated`: the
    script was stopped from outside, and its edits don't count (delta is empty).
    """

    step: int
    nonce: str
    outcome: Literal["succeeded", "failed"]
    elapsed_ms: int
    delta: list[DeltaOp | Bundle]
    error: ErrorInfo | None
    terminated: bool


class FinishAnswer(TypedDict):
    """`next`: another step of this attempt follows (a hint; `begin` decides)."""

    answer: Literal["recorded", "leave"]
    reason: NotRequired[str]
    next: NotRequired[bool]


class ChildCall(TypedDict):
    """POST /v1/child: what `PipelineRun` and `SDKRunner` do, within one attempt.

    call      needs                         gives
    create    key, kind, name, parameters   id, status
    operate   id, operation                 status
    get       id, patience_ms, until_rest   status, at_rest
    logs      id                            logs: {"<runner>.<container>": [lines]}

    `key` makes `create` idempotent: the same key in the same attempt gives the same run.
    """

    call: Literal["create", "operate", "get", "logs"]
    key: NotRequired[str]
    kind: NotRequired[Literal["pipeline", "task"]]
    name: NotRequired[str]
    parameters: NotRequired[dict[str, Any]]
    run: NotRequired[bool]
    id: NotRequired[str]
    operation: NotRequired[Literal["run", "cancel", "recovery", "rollback"]]
    patience_ms: NotRequired[int]
    until_rest: NotRequired[bool]


class ChildAnswer(TypedDict):
    """`error` is set when the call was refused: message for the user, HTTP-like code."""

    id: NotRequired[str]
    status: NotRequired[str]
    at_rest: NotRequired[bool]  # nothing will happen to it by itself: `waitfor` is answered
    logs: NotRequired[dict[str, list[str]]]
    error: NotRequired[str]
    code: NotRequired[int]
