"""Asking the API server who a token belongs to, and what its owner may do.

TokenReview and SubjectAccessReview: the cluster's own authentication and RBAC (or whatever else it
has) decide, and nothing is decided here. To ask, an identity needs the ClusterRole
`system:auth-delegator`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from xaas_core.ports import Unavailable
from xaas_kube.client import ApiError, Json, KubeClient, Unreachable
from xaas_kube.words import GROUP, VERSION

ANSWER_WITHIN: Final = 5.0
"""Seconds for one question, the wait for its turn included."""

AT_ONCE: Final = 20
"""Questions of a kind under way at once: a flood of them must not use up all connections."""

log = logging.getLogger(__name__)


class Review(StrEnum):
    """The questions."""

    OWNER = "TokenReview"
    ACCESS = "SubjectAccessReview"


VERSIONS: Final = {
    Review.OWNER: "authentication.k8s.io/v1",
    Review.ACCESS: "authorization.k8s.io/v1",
}


class Verb(StrEnum):
    """What can be done with objects, in RBAC's words."""

    GET = "get"
    LIST = "list"
    WATCH = "watch"
    CREATE = "create"
    UPDATE = "update"
    PATCH = "patch"
    DELETE = "delete"


@dataclass(frozen=True)
class User:
    """Who calls, as the cluster says. `extra` as sorted pairs."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class OnObjects:
    """Something done with objects in a namespace. `name` "" is all of them, or no matter which.

    `part` is the subresource.
    """

    verb: Verb
    resource: str
    namespace: str
    name: str = ""
    part: str = ""
    group: str = GROUP

    def __str__(self) -> str:
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        part = f"/{self.part}" if self.part else ""
        return f"{self.verb} {what}{part} in the namespace {self.namespace!r}"


@dataclass(frozen=True)
class OnPath:
    """Something done with a path that is no object's, such as `/metrics`."""

    verb: Verb
    path: str

    def __str__(self) -> str:
        return f"{self.verb} {self.path}"


Act = OnObjects | OnPath


class Reviews:
    """Questions to the API server. Every method raises Unavailable if there is no answer."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._turns = {review: asyncio.Semaphore(AT_ONCE) for review in Review}

    async def owner(self, token: str) -> User | None:
        """Whose token it is; None if the cluster doesn't accept it."""
        status = await self._ask(Review.OWNER, {"token": token})
        if status.get("authenticated") is not True:
            return None
        user = status.get("user") or {}
        extra = user.get("extra") or {}
        return User(
            user.get("username", ""),
            user.get("uid", ""),
            tuple(user.get("groups") or ()),
            tuple(sorted((key, tuple(values)) for key, values in extra.items())),
        )

    async def allows(self, user: User, act: Act) -> bool:
        """Whether `user` may do it."""
        spec: Json = {
            "user": user.name,
            "uid": user.uid,
            "groups": list(user.groups),
            "extra": {key: list(values) for key, values in user.extra},
            **_attributes(act),
        }
        status = await self._ask(Review.ACCESS, spec)
        if trouble := status.get("evaluationError"):
            log.warning("whether %s may %s: %s", user.name, act, trouble)
        return status.get("allowed") is True and status.get("denied") is not True

    async def _ask(self, review: Review, spec: Json) -> Json:
        version = VERSIONS[review]
        body = {"apiVersion": version, "kind": review.value, "spec": spec}
        async with _answered(review), asyncio.timeout(ANSWER_WITHIN), self._turns[review]:
            answer = await self._client.create(f"/apis/{version}/{review.lower()}s", body)
        status: Any = answer.get("status")
        return status if isinstance(status, dict) else {}


def _attributes(act: Act) -> Json:
    if isinstance(act, OnPath):
        return {"nonResourceAttributes": {"verb": act.verb, "path": act.path}}
    return {
        "resourceAttributes": {
            "verb": act.verb,
            "group": act.group,
            "version": VERSION if act.group == GROUP else "v1",
            "resource": act.resource,
            "subresource": act.part,
            "namespace": act.namespace,
            "name": act.name,
        }
    }


@asynccontextmanager
async def _answered(review: Review) -> AsyncIterator[None]:
    """Raises Unavailable for everything that is no answer."""
    text = "the API server can't say who may call"
    try:
        yield
    except TimeoutError:
        raise Unavailable(f"{text}: no answer in {ANSWER_WITHIN:g} s") from None
    except Unreachable as error:
        raise Unavailable(f"{text}: {error}") from error
    except ApiError as error:
        if error.code == 403:
            log.error(
                "this server may not create a %s; bind its ServiceAccount to the ClusterRole "
                "system:auth-delegator: %s",
                review,
                error.message,
            )
        raise Unavailable(f"{text}: {error}") from error
