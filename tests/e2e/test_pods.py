"""The pods that run scripts: what they may do, and what they said."""

import pytest
from tests.conformance.kit.gate import Gate
from tests.conformance.kit.plan import Step, multi, node
from tests.conformance.kit.rest import Rest
from tests.e2e.kit.space import Json, Space, until

UNDER_WAY = "--field-selector=status.phase!=Succeeded,status.phase!=Failed"


@pytest.fixture
def pod(space: Space, gate: Gate) -> Json:
    """The pod of a task of two steps, the first of which runs; the namespace is `restricted`."""
    limits = {"cpu": "500m", "memory": "200Mi"}
    space.start({"a": multi(Step(gate.hold("a")), Step(), resources={"limits": limits})})
    gate.wait("a")
    (found,) = space.items("pods")
    return dict(found)


def test_it_is_hardened(pod: Json) -> None:
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec.get("volumes")
    assert not any(spec.get(each) for each in ("hostNetwork", "hostPID", "hostIPC"))
    assert [each["name"] for each in spec["containers"]] == ["step-0", "step-1"]
    for container in spec["containers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"] == {"cpu": "500m", "memory": "200Mi"}


def test_its_file_system_cant_be_written(space: Space, pod: Json) -> None:
    """Seen from inside, by a process beside the script's."""
    name, script = pod["metadata"]["name"], "open('/tmp/x', 'w')"
    inside = ("exec", name, "--container=step-0", "--", "python3", "-I", "-S", "-c")
    assert "Read-only file system" in space.refused(*inside, script)
    token = "open('/var/run/secrets/kubernetes.io/serviceaccount/token')"
    assert "No such file" in space.refused(*inside, token)
    links = "import os; print([name for name in os.environ if name.endswith('_SERVICE_HOST')])"
    assert space(*inside, links).strip() in ("[]", "['KUBERNETES_SERVICE_HOST']")


def test_defaults_of_the_chart(space: Space, gate: Gate) -> None:
    """A task that names no resources has limits all the same; its Job isn't tried again."""
    space.start({"a": node(gate.hold("a"), gracePeriod="3s")})
    gate.wait("a")
    (pod,) = space.items("pods")
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["limits"]["memory"]
    assert container["resources"]["requests"]["cpu"]
    assert pod["spec"]["terminationGracePeriodSeconds"] == 3
    (job,) = space.items("jobs")
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    assert not job["metadata"].get("finalizers")
    gate.release("a")
    space.wait_state("r", "complete")


def test_logs(space: Space, rest: Rest) -> None:
    """`kubectl logs` and REST show the same."""
    steps = (
        Step("print('one é')\nlogger.info('two')"),
        Step("logger.error('three')\nraise ValueError('no')"),
    )
    space.start({"a": multi(*steps)})
    space.wait_state("r", "cancelled")
    # The kubelet tells of a container's start late, and kubectl asks for no log before that.
    until("it is told that it has ended", lambda: not space.items("pods", UNDER_WAY))
    (pod,) = space.items("pods")
    uid = space.get("plr/r")["metadata"]["uid"]
    where = f"/pipelineruns/{uid}/tasks/a/do/logs"
    for step in (0, 1):
        by_kubectl = space("logs", pod["metadata"]["name"], f"--container=step-{step}")
        by_rest = rest.call("GET", where, 200, params={"step": step}).text
        assert by_rest == by_kubectl
    assert "one é" in space("logs", pod["metadata"]["name"], "--container=step-0")
    assert "two" in space("logs", pod["metadata"]["name"], "--container=step-0")
    whole = rest.call("GET", where, 200).text
    assert all(word in whole for word in ("one é", "two", "three"))
