"""A namespace of the real cluster with users of its own, and the API served on it."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.api.kit.client import Json
from tests.api.kit.process import START, ServerProcess, ready
from tests.cluster.kubectl import Kubectl

ROOT: Final = Path(__file__).parents[3]
OURS: Final = ["pipelinetasks", "pipelines", "pipelineruns", "pipelinetaskruns"]


def may(
    *verbs: str, on: list[str], group: str = "xaas.dev", names: list[str] | None = None
) -> Json:
    """A rule of a Role."""
    rule: Json = {"apiGroups": [group], "resources": on, "verbs": list(verbs)}
    return rule | ({"resourceNames": names} if names else {})


class Home:
    """A namespace that is there for a test, and gone afterwards."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.name = f"rest-{uuid.uuid4().hex[:8]}"
        self._kubectl = kubectl

    @property
    def kubeconfig(self) -> Path:
        """The admin's access."""
        return self._kubectl.kubeconfig

    def kubectl(self, *words: str, given: object = None) -> str:
        """kubectl in this namespace."""
        return self._kubectl(f"--namespace={self.name}", *words, given=given)

    def get(self, kind: str, name: str) -> Json:
        """An object."""
        found: Json = self._kubectl.get(f"--namespace={self.name}", kind, name)
        return found

    def make(self) -> None:
        """Create it, and have the CRDs."""
        crds = f"--filename={ROOT / 'crds'}"
        self.kubectl("apply", "--server-side", "--force-conflicts", crds)
        self.kubectl("wait", "--for=condition=Established", crds, "--timeout=30s")
        self.kubectl("create", "namespace", self.name)

    def remove(self) -> None:
        """Remove it with all that is in it: no operator is there to let runs go."""
        names = self.kubectl("get", "pipelineruns", "--output=name").split()
        for name in names:
            patch = json.dumps({"metadata": {"finalizers": None}})
            self.kubectl("patch", name, "--type=merge", f"--patch={patch}")
        self.kubectl("delete", "namespace", self.name, "--wait=false")

    def user(self, name: str, *rules: Json) -> str:
        """A new ServiceAccount with a Role of these rules; gives its token."""
        account = {"kind": "ServiceAccount", "name": name, "namespace": self.name}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        version = "rbac.authorization.k8s.io/v1"
        binding = {"kind": "RoleBinding", "subjects": [account], "roleRef": role}
        items: list[Json] = [
            {"apiVersion": "v1", "kind": "ServiceAccount"},
            {"apiVersion": version, "kind": "Role", "rules": list(rules)},
            {"apiVersion": version, **binding},
        ]
        named = [{**item, "metadata": {"name": name}} for item in items]
        every = {"apiVersion": "v1", "kind": "List", "items": named}
        self.kubectl("create", "--filename=-", given=every)
        return self.kubectl("create", "token", name).strip()


@contextmanager
def home(kubectl: Kubectl) -> Iterator[Home]:
    """A namespace of its own."""
    made = Home(kubectl)
    made.make()
    try:
        yield made
    finally:
        made.remove()


@contextmanager
def evaluator(folder: Path) -> Iterator[Path]:
    """The evaluator as the container beside the API runs it; gives its socket."""
    runner, sandbox = find_spec("xaas_runner"), find_spec("RestrictedPython")
    assert runner is not None
    assert runner.origin is not None
    assert sandbox is not None
    assert sandbox.origin is not None
    socket = folder / "evaluator.sock"
    command = [sys.executable, "-I", "-S", str(Path(runner.origin).parent), "evaluate"]
    command += ["--socket", str(socket), "--path", str(Path(sandbox.origin).parents[1])]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={})
    try:
        yield socket
    finally:
        process.terminate()
        process.wait(START)
        with suppress(FileNotFoundError):
            socket.unlink()


@contextmanager
def kubernetes_process(home: Home, evaluator: Path, *further: str) -> Iterator[ServerProcess]:
    """The API on Kubernetes with `home` as its namespace, ready."""
    where = ["--kubeconfig", str(home.kubeconfig), "--namespace", home.name]
    socket = ["--evaluator", str(evaluator), "--host", "127.0.0.1", "--port", "0"]
    log = evaluator.parent / f"{uuid.uuid4().hex}.log"
    server = ServerProcess("xaas_api.kubernetes", log, *where, *socket, *further)
    with ready(server):
        yield server
