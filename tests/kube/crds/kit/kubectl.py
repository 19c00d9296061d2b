"""kubectl, as users have it."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.kube.crds.kit.documents import Json


@dataclass(frozen=True)
class Answer:
    """What kubectl said."""

    code: int
    out: str
    error: str

    def ok(self) -> str:
        """Its output; an error is one of the test."""
        assert self.code == 0, self.error
        return self.out

    def refused(self, *words: str) -> None:
        """Expect a refusal that holds each of `words`."""
        assert self.code != 0, self.out
        for word in words:
            assert word in self.error, self.error


class Kubectl:
    """kubectl in one namespace."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        beside = kubeconfig.with_name("kubectl")
        found = str(beside) if beside.exists() else shutil.which("kubectl")
        assert found, "no kubectl to ask the cluster with"
        self._start = [found, f"--kubeconfig={kubeconfig}", f"--namespace={namespace}"]

    def __call__(self, *words: str, given: object = None) -> Answer:
        done = subprocess.run(
            [*self._start, *words],
            input=None if given is None else json.dumps(given),
            capture_output=True,
            text=True,
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def create(self, document: Json, *words: str) -> Answer:
        """Create an object."""
        return self("create", "--filename=-", *words, given=document)

    def apply(self, document: Json, *words: str) -> Answer:
        """Server-side apply."""
        return self("apply", "--server-side", "--filename=-", *words, given=document)

    def get(self, kind: str, name: str) -> Json:
        """An object."""
        found: Json = json.loads(self("get", kind, name, "--output=json").ok())
        return found

    def merge(self, kind: str, name: str, patch: Json, *words: str) -> Answer:
        """Merge a patch into an object."""
        return self("patch", kind, name, "--type=merge", f"--patch={json.dumps(patch)}", *words)
