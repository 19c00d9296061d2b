"""REST on a real cluster: its users, its RBAC, its objects. No operator runs: nothing is reconciled."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from tests.api.kit.client import Json, problem
from tests.api.kit.cluster import (
    OURS,
    Home,
    evaluator,
    home,
    kubernetes_process,
    may,
)
from tests.api.kit.process import ServerProcess
from tests.cluster.kubectl import Kubectl

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

EDITOR = [
    may("get", "list", "watch", "create", "update", "patch", "delete", on=OURS),
    may("get", on=["pods/log"], group=""),
]
VIEWER = [may("get", "list", "watch", on=OURS)]
PATIENCE = 30.0


@pytest.fixture(scope="module")
def there(kubectl: Kubectl) -> Iterator[Home]:
    with home(kubectl) as made:
        yield made


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with evaluator(tmp_path_factory.mktemp("evaluator")) as path:
        yield path


@pytest.fixture(scope="module")
def api(there: Home, socket: Path) -> Iterator[ServerProcess]:
    with kubernetes_process(there, socket) as running:
        yield running


@pytest.fixture(scope="module")
def editor(there: Home) -> str:
    """The token of a user who may do everything that users do."""
    return there.user("editor", *EDITOR)


@pytest.fixture(scope="module")
def viewer(there: Home) -> str:
    return there.user("viewer", *VIEWER)


@pytest.fixture
async def http(api: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=api.url, trust_env=False, timeout=20) as client:
        yield client


def by(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def new_task(new_name: Callable[[], str]) -> Callable[[], Json]:
    return lambda: {"category": "c", "name": new_name(), "steps": [{"doScript": "pass"}]}


@pytest.fixture
async def pipeline(http: httpx.AsyncClient, editor: str, new_task: Callable[[], Json]) -> str:
    """The name of a Pipeline of one task."""
    task = new_task()
    tasks = [{"ref": "a", "name": task["name"], "dependsOn": []}]
    body = {"category": "c", "name": task["name"], "tasks": tasks}
    for path, content in (("/pipelinetasks", task), ("/pipelines", body)):
        made = await http.post(path, json=content, headers=by(editor))
        assert made.status_code == 201, made.text
    return str(task["name"])


class TestWho:
    async def test_nobody(self, http: httpx.AsyncClient) -> None:
        for path in ("/healthz", "/readyz", "/docs"):
            assert (await http.get(path)).status_code == 200
        problem(await http.get("/pipelines"), 401, "unauthorized")
        problem(await http.get("/pipelines", headers=by("no.such.token")), 401, "unauthorized")

    async def test_a_stranger(self, http: httpx.AsyncClient, there: Home) -> None:
        token = there.user("stranger")
        assert (await http.get("/openapi.json", headers=by(token))).status_code == 200
        found = problem(await http.get("/pipelines", headers=by(token)), 403, "forbidden")
        assert found["detail"] == (
            f"system:serviceaccount:{there.name}:stranger may not list pipelines.xaas.dev "
            f"in the namespace '{there.name}'"
        )
        problem(await http.get("/metrics", headers=by(token)), 403, "forbidden")

    async def test_an_editor(
        self, http: httpx.AsyncClient, editor: str, new_task: Callable[[], Json]
    ) -> None:
        task, headers = new_task(), by(editor)
        made = await http.post("/pipelinetasks", json=task, headers=headers)
        assert made.status_code == 201
        path = made.headers["location"]
        changed = task | {"category": "changed"}
        assert (await http.put(path, json=changed, headers=headers)).status_code == 200
        assert (await http.get(path, headers=headers)).json()["category"] == "changed"
        listed = (await http.get("/pipelinetasks", headers=headers)).json()["items"]
        assert task["name"] in [item["name"] for item in listed]
        assert (await http.delete(path, headers=headers)).status_code == 204
        problem(await http.get(path, headers=headers), 404, "not-found")

    async def test_a_viewer(
        self, http: httpx.AsyncClient, viewer: str, pipeline: str, new_task: Callable[[], Json]
    ) -> None:
        headers = by(viewer)
        assert (await http.get(f"/pipelines/{pipeline}", headers=headers)).status_code == 200
        run = {"name": pipeline, "parameters": {}}
        for method, path, body in (
            ("POST", "/pipelinetasks", new_task()),
            ("POST", "/pipelineruns", run),
            ("PUT", f"/pipelinetasks/{pipeline}", new_task()),
            ("DELETE", f"/pipelines/{pipeline}", None),
        ):
            problem(await http.request(method, path, json=body, headers=headers), 403, "forbidden")
        async with http.stream("GET", "/events", headers=headers) as answer:
            assert answer.status_code == 200
            assert (await anext(answer.aiter_lines())).startswith("retry: ")

    async def test_somewhere_else(self, http: httpx.AsyncClient, editor: str) -> None:
        for namespace in ("kube-system", "no-such-namespace"):
            query = {"namespace": namespace}
            answer = await http.get("/pipelines", params=query, headers=by(editor))
            found = problem(answer, 403, "forbidden")
            assert f"namespace '{namespace}'" in found["detail"]


async def new_run(http: httpx.AsyncClient, token: str, pipeline: str) -> Json:
    body = {"name": pipeline, "parameters": {}}
    made = await http.post("/pipelineruns", json=body, headers=by(token))
    assert made.status_code == 201, made.text
    return made.json()  # type: ignore[no-any-return]


async def test_a_run_that_no_operator_plans_keeps_its_definitions(
    http: httpx.AsyncClient, editor: str, pipeline: str
) -> None:
    """They are those of its POST, whenever an operator comes: one that was there would have seen them."""
    run = await new_run(http, editor, pipeline)
    assert (run["status"], run["tasks"]["total"]) == ("pending", 0), "nobody has decided anything"
    for path in (f"/pipelines/{pipeline}", f"/pipelinetasks/{pipeline}"):
        assert (await http.delete(path, headers=by(editor))).status_code == 204
    path = f"/pipelineruns/{run['instance_id']}/tasks"
    items = (await http.get(path, headers=by(editor))).json()["items"]
    assert [(item["ref"], item["process_type"]) for item in items] == [("a", "do"), ("a", "undo")]


async def test_one_run_of_many(
    http: httpx.AsyncClient, there: Home, editor: str, pipeline: str
) -> None:
    """A Role with resourceNames means the same over REST as with kubectl."""
    mine, other = [await new_run(http, editor, pipeline) for _ in range(2)]
    name = mine["resource_name"]
    assert there.get("plr", name)["metadata"]["uid"] == mine["instance_id"]
    token = there.user("narrow", may("get", "patch", on=["pipelineruns"], names=[name]))
    path = f"/pipelineruns/{mine['instance_id']}"
    answer = await http.patch(path, json={"suspend": True}, headers=by(token))
    assert answer.status_code == 202, answer.text
    assert there.get("plr", name)["spec"]["suspend"] is True
    assert (await http.get(path, headers=by(token))).json()["resource_name"] == name
    refused = []
    for uid in (other["instance_id"], "7b0e7a6c-0000-4000-8000-000000000000"):
        answer = await http.get(f"/pipelineruns/{uid}", headers=by(token))
        problem(answer, 403, "forbidden")
        refused.append(answer.text)
    assert refused[0] == refused[1]
    problem(await http.get("/pipelineruns", headers=by(token)), 403, "forbidden")
    # Task runs and logs are of all the namespace.
    problem(await http.get(f"{path}/tasks", headers=by(token)), 403, "forbidden")
    problem(await http.get(f"{path}/tasks/a/do/logs", headers=by(token)), 403, "forbidden")


async def test_metrics_are_a_right_of_their_own(http: httpx.AsyncClient, there: Home) -> None:
    token = there.user("prometheus")
    version = "rbac.authorization.k8s.io/v1"
    rules = [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": there.name}
    account = {"kind": "ServiceAccount", "name": "prometheus", "namespace": there.name}
    for item in (
        {"kind": "ClusterRole", "rules": rules},
        {"kind": "ClusterRoleBinding", "roleRef": role, "subjects": [account]},
    ):
        named = {"apiVersion": version, "metadata": {"name": there.name}, **item}
        there.kubectl("create", "--filename=-", given=named)
    try:
        answer = await http.get("/metrics", headers=by(token))
        assert answer.status_code == 200, answer.text
        assert "xaas_runs" in answer.text
    finally:
        for kind in ("clusterrolebinding", "clusterrole"):
            there.kubectl("delete", kind, there.name)


async def test_the_command_line(
    api: ServerProcess, there: Home, editor: str, viewer: str, pipeline: str, tmp_path: Path
) -> None:
    """It knows REST only: a server, a token, a namespace."""

    async def xaas(token: str, namespace: str, *words: str) -> tuple[int, str]:
        """Exit code and what was written."""
        file = tmp_path / "token"
        file.write_text(token)
        where = ["--server", api.url, "--token-file", str(file), "--namespace", namespace]
        command = [sys.executable, "-m", "xaas_cli", *words, *where]
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    code, said = await xaas(viewer, there.name, "get", "pipelines", "-o", "json")
    assert code == 0, said
    assert pipeline in [item["name"] for item in json.loads(said)["items"]]
    code, said = await xaas(viewer, "kube-system", "get", "pipelines")
    assert code != 0
    assert "may not list pipelines.xaas.dev in the namespace 'kube-system'" in said
    code, said = await xaas(viewer, there.name, "delete", "pipeline", pipeline)
    assert code != 0
    assert "may not delete pipelines.xaas.dev" in said
    code, said = await xaas(editor, there.name, "delete", "pipeline", pipeline)
    assert code == 0, said


async def test_told_to_end(there: Home, socket: Path, viewer: str) -> None:
    """Not ready any more, but still at work; then streams end, and the process well."""
    with kubernetes_process(there, socket, "--drain", "1") as server:
        async with (
            asyncio.timeout(PATIENCE),
            httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as http,
            http.stream("GET", "/events", headers=by(viewer)) as events,
        ):
            lines = events.aiter_lines()
            await anext(lines)
            assert (await http.get("/readyz")).status_code == 200
            os.kill(server.process.pid, signal.SIGTERM)
            while (await http.get("/readyz")).status_code == 200:
                pass
            found = problem(await http.get("/readyz"), 503, "unavailable")
            assert "about to end" in found["detail"]
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.get("/pipelines", headers=by(viewer))).status_code == 200
            assert [line async for line in lines if line.startswith("data: ")] == []
        assert await asyncio.to_thread(server.process.wait, PATIENCE) == 0
        assert "Traceback" not in server.said


class TestWontStart:
    def said_by(self, log: Path, *arguments: str) -> str:
        server = ServerProcess("xaas_api.kubernetes", log, "--port", "0", *arguments)
        assert server.process.wait(PATIENCE) == 1
        assert "Traceback" not in server.said
        return server.said

    def test_no_access(self, tmp_path: Path) -> None:
        file = tmp_path / "kubeconfig"
        arguments = ("--evaluator", str(tmp_path / "s"), "--kubeconfig", str(file))
        assert "no access to a cluster" in self.said_by(tmp_path / "log", *arguments)
