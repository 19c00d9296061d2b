"""What a request is called by RBAC."""

import pytest

from xaas_kube.client import verb_and_resource
from xaas_kube.words import Resource, jobs, path, pods, revisions


@pytest.mark.parametrize(
    ("method", "where", "params", "asked"),
    [
        ("GET", path(Resource.RUNS, None), {"limit": 5}, ("list", "pipelineruns")),
        ("GET", path(Resource.RUNS, None), {"watch": True}, ("watch", "pipelineruns")),
        ("GET", path(Resource.RUNS, "ns", "a/b"), None, ("get", "pipelineruns")),
        ("PATCH", path(Resource.RUNS, "ns", "a", "status"), None, ("patch", "pipelineruns/status")),
        ("POST", jobs("ns"), None, ("create", "jobs")),
        ("DELETE", jobs("ns", "j"), None, ("delete", "jobs")),
        ("PUT", revisions("ns", "r"), None, ("update", "controllerrevisions")),
        ("GET", pods("ns", "p", "log"), {"follow": True}, ("get", "pods/log")),
        ("GET", "/api/v1/namespaces/ns", None, ("get", "namespaces")),
        ("GET", "/api/v1/namespaces", None, ("list", "namespaces")),
        ("GET", "/api/v1/namespaces/ns/services/s", None, ("get", "services")),
        (
            "POST",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            {"timeout": "12s"},
            ("create", "subjectaccessreviews"),
        ),
        ("GET", "/version", None, ("get", "/version")),
    ],
)
def test_a_request_is_named_as_rbac_names_it(
    method: str, where: str, params: dict[str, str | int | bool | None], asked: tuple[str, str]
) -> None:
    assert verb_and_resource(method, where, params) == asked
