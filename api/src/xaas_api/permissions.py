"""What a caller must be allowed to do, in Kubernetes' words, for each route.

The one table from REST to RBAC: who may do a thing with kubectl may do it over REST, and nobody
else. A route that isn't here can't be called on Kubernetes (`rule_of` raises), and a test fails.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from xaas_core.ports import Kind
from xaas_kube.reviews import Act, OnObjects, OnPath, Verb
from xaas_kube.words import GROUP, Resource

RouteKey = tuple[str, str]
"""Method and path, as OpenAPI has them. A WebSocket's handshake is a GET."""


@dataclass(frozen=True)
class Need:
    """A permission on objects in the request's namespace.

    `of` is the path parameter that tells which object; without it the permission must be for all of
    the namespace. `part` is the subresource, as in RBAC's `pods/log`.
    """

    verb: Verb
    resource: str
    of: str | None = None
    part: str = ""
    group: str = GROUP

    def act(self, namespace: str, name: str = "") -> Act:
        """The permission as the cluster is asked for it."""
        return OnObjects(self.verb, self.resource, namespace, name, self.part, self.group)

    def __str__(self) -> str:
        what = f"{self.resource}/{self.part}" if self.part else self.resource
        return f"`{self.verb}` `{what}`"


@dataclass(frozen=True)
class Rule:
    """Who may call a route: those who have all of `needs`, and a token that the cluster accepts.

    `is_open`: everybody, without a token. `streams`: an answer may go on for long, and ends when
    the permission does. `path`: the route itself is what is permitted, not objects.
    """

    needs: tuple[Need, ...] = ()
    path: OnPath | None = None
    is_open: bool = False
    streams: bool = False

    def __str__(self) -> str:
        if self.is_open:
            return "everybody, without a token"
        if self.path is not None:
            return f"`{self.path.verb}` the path `{self.path.path}`"
        return " and ".join(str(need) for need in self.needs) or "every user of the cluster"


KINDS: Final[Mapping[str, Kind]] = {Resource.TASKS: Kind.TASK, Resource.PIPELINES: Kind.PIPELINE}
"""The definitions' kinds."""

RUN: Final = "instance_id"
"""The path parameter that names a run."""


def _definitions(resource: Resource) -> Iterator[tuple[RouteKey, Rule]]:
    every, one = f"/{resource}", f"/{resource}/{{name}}"
    yield ("POST", every), Rule((Need(Verb.CREATE, resource),))
    yield ("GET", every), Rule((Need(Verb.LIST, resource),))
    yield ("GET", one), Rule((Need(Verb.GET, resource, "name"),))
    yield ("PUT", one), Rule((Need(Verb.UPDATE, resource, "name"),))
    yield ("DELETE", one), Rule((Need(Verb.DELETE, resource, "name"),))


_RUNS: Final = f"/{Resource.RUNS}"
_ONE_RUN: Final = f"{_RUNS}/{{{RUN}}}"
_TASK_RUNS: Final = f"{_ONE_RUN}/tasks"
_ONE_TASK_RUN: Final = f"{_TASK_RUNS}/{{ref}}/{{process_type}}"
_GET_RUN: Final = Need(Verb.GET, Resource.RUNS, RUN)

RULES: Final[Mapping[RouteKey, Rule]] = {
    **dict(_definitions(Resource.TASKS)),
    **dict(_definitions(Resource.PIPELINES)),
    ("POST", _RUNS): Rule((Need(Verb.CREATE, Resource.RUNS),)),
    ("GET", _RUNS): Rule((Need(Verb.LIST, Resource.RUNS),)),
    ("GET", _ONE_RUN): Rule((_GET_RUN,)),
    ("PATCH", _ONE_RUN): Rule((Need(Verb.PATCH, Resource.RUNS, RUN),)),
    ("DELETE", _ONE_RUN): Rule((Need(Verb.DELETE, Resource.RUNS, RUN),)),
    # A task run's input is made of its run's parameters: who sees the one sees the other.
    ("GET", _TASK_RUNS): Rule((_GET_RUN, Need(Verb.LIST, Resource.TASK_RUNS))),
    ("GET", _ONE_TASK_RUN): Rule((_GET_RUN, Need(Verb.GET, Resource.TASK_RUNS))),
    ("GET", f"{_ONE_TASK_RUN}/logs"): Rule(
        (Need(Verb.GET, "pods", part="log", group=""),), streams=True
    ),
    ("GET", "/events"): Rule((Need(Verb.WATCH, Resource.RUNS),), streams=True),
    ("GET", "/metrics"): Rule(path=OnPath(Verb.GET, "/metrics")),
    ("GET", "/openapi.json"): Rule(),
    # A browser can't send a token when it opens a page. The page is the same everywhere, and has a
    # field for the token with which it then loads the document.
    ("GET", "/docs"): Rule(is_open=True),
    ("GET", "/healthz"): Rule(is_open=True),
    ("GET", "/readyz"): Rule(is_open=True),
}


def rule_of(route: RouteKey) -> Rule:
    """Who may call a route. Raises LookupError for one that nobody has thought of."""
    try:
        return RULES[route]
    except KeyError:
        raise LookupError(f"{' '.join(route)} has no rule in permissions.py") from None


BEGIN: Final = "<!-- generated: permissions -->"
END: Final = "<!-- end of generated -->"


def rewritten(document: str) -> str:
    """`document` with the table of rules between the two marks written anew. Raises ValueError."""
    before, mark, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"the document has no {BEGIN} … {END}")
    rows = [f"| `{method} {path}` | {rule} |" for (method, path), rule in RULES.items()]
    table = "\n".join(["| call | needs |", "|---|---|", *rows])
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
