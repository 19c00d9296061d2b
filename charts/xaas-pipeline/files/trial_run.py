"""What `helm test` runs: a pipeline that completes, and one that fails and is rolled back.

Over REST, as a user with the token of an account that may do no more than this. Ends with 0 if both
runs ended as they should, else says what didn't, with what the server knows of it. Only the standard
library: the pod has this file and no other of ours.

    XAAS_API         address of the API
    XAAS_NAMESPACE   where the definitions and runs are made, and removed again
    XAAS_TOKEN_FILE  the account's token
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

API: Final = os.environ["XAAS_API"]
NAMESPACE: Final = os.environ["XAAS_NAMESPACE"]
TOKEN: Final = Path(os.environ["XAAS_TOKEN_FILE"])

READY_WITHIN: Final = 60.0
"""Seconds for the API to answer: `helm test` may be started right after `helm install`."""

OVER_WITHIN: Final = 120.0
"""Seconds for a run to be over, on a busy node that has to pull the runner image first."""

AT_REST: Final = ("complete", "cancelled", "aborted")

STEP: Final = {
    "doScript": 'params["made"] = context.ref\nif params.get("fail_at") == context.ref:\n'
    '    raise Error(500, "told to fail")',
    "undoScript": 'params.pop("made", None)',
}

Json = dict[str, Any]


class Failed(Exception):
    """Something isn't as it should be."""


def ask(method: str, path: str, body: Json | None = None, query: Json | None = None) -> Json:
    """One request. Raises Failed with the server's words if it is refused or not answered."""
    address = f"{API}{path}?{urlencode({'namespace': NAMESPACE, **(query or {})})}"
    headers = {"Authorization": f"Bearer {TOKEN.read_text()}", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, content, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            answer: Json = json.loads(response.read() or b"{}")
            return answer
    except urllib.error.HTTPError as error:
        said = error.read().decode(errors="replace")
        raise Failed(f"{method} {path}: {error.code} {said}") from None
    except OSError as error:
        raise Failed(f"{method} {path}: no answer from {API}: {error}") from None


def wait(seconds: float, check: Callable[[], bool]) -> bool:
    """Whether `check` holds before that many seconds have passed."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def await_api() -> None:
    """Wait until the API takes requests of this account. Raises Failed with the last refusal."""
    refusals = [""]

    def answers() -> bool:
        try:
            ask("GET", "/pipelines", query={"limit": 1})
        except Failed as failed:
            refusals[0] = str(failed)
            return False
        return True

    if not wait(READY_WITHIN, answers):
        raise Failed(refusals[0])


@contextmanager
def definitions() -> Iterator[str]:
    """A pipeline of two tasks, one after the other; gives its name. It is removed at the end."""
    name = f"helm-test-{uuid.uuid4().hex[:8]}"
    tasks = [
        {"ref": "first", "name": name, "dependsOn": []},
        {"ref": "second", "name": name, "dependsOn": ["first"]},
    ]
    try:
        ask("POST", "/pipelinetasks", {"category": "helm-test", "name": name, "steps": [STEP]})
        ask("POST", "/pipelines", {"category": "helm-test", "name": name, "tasks": tasks})
        yield name
    finally:
        for kind in ("pipelines", "pipelinetasks"):
            remove(f"/{kind}/{name}")


def remove(path: str, query: Json | None = None) -> None:
    """Delete; what can't be deleted is told and left."""
    try:
        ask("DELETE", path, query=query)
    except Failed as failed:
        print(f"Left behind: {failed}", flush=True)


def run(pipeline: str, parameters: Json, wanted: str) -> None:
    """Run the pipeline and see it end as `wanted`. Raises Failed if it doesn't."""
    body = {"name": pipeline, "parameters": parameters, "run": True}
    path = f"/pipelineruns/{ask('POST', '/pipelineruns', body)['instance_id']}"
    began = time.monotonic()
    try:
        wait(OVER_WITHIN, lambda: ask("GET", path)["status"] in AT_REST)
        state = ask("GET", path)["status"]
        if state != wanted:
            raise Failed(f"the run should be {wanted} and is {state}:\n{story(path)}")
        print(f"{parameters}: {state} after {time.monotonic() - began:.1f} s", flush=True)
    finally:
        remove(path, {"force": "true"})


def story(path: str) -> str:
    """What is known of a run and of its task runs, one line for each."""
    shown = ask("GET", path)
    lines = [f"  {shown['status']}, reason: {shown['reason']}, warnings: {shown['warnings']}"]
    lines += [
        f"  {each['ref']} {each['process_type']}: {each['status']} {each['reason'] or ''} "
        f"{(each['error'] or {}).get('message', '')}"
        for each in ask("GET", f"{path}/tasks")["items"]
    ]
    return "\n".join(lines)


def main() -> int:
    """Run both; gives the exit code."""
    try:
        await_api()
        with definitions() as pipeline:
            run(pipeline, {}, "complete")
            run(pipeline, {"fail_at": "second"}, "cancelled")
    except Failed as failed:
        print(f"Failed: {failed}", file=sys.stderr, flush=True)
        return 1
    print("Both runs ended as they should.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
