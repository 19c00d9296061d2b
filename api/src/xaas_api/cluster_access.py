"""Who may call on Kubernetes: the cluster's own users, and what its RBAC allows them.

A bearer token is whatever the cluster accepts: a ServiceAccount's, or a user's of its identity
provider. The cluster is asked whose it is, and then whether its owner may do what `permissions.py`
says of the route; so REST allows what kubectl allows. Both answers hold for a few seconds. While the
cluster can't be asked, nobody gets in: that is a 503, not a refusal.

An object is asked about by its `metadata.name`, as it is with kubectl, so a Role with
`resourceNames` works. Of an object that isn't there all are asked about: who may use only some gets
the same answer as for one that others have, and learns nothing about what exists.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from starlette.datastructures import Headers

from xaas_api.errors import ApiError, ProblemType, invalid_at
from xaas_api.guard import Call, Lapse, bearer_token
from xaas_api.permissions import KINDS, Need, Rule, rule_of
from xaas_api.remembered import Remembered
from xaas_core.ports import NotFound, Store, Unavailable
from xaas_kube.reviews import Act, User
from xaas_kube.words import Resource

KEEP_ALLOWED: Final = 10.0
"""Seconds that a yes is remembered: how long a permission outlasts its withdrawal."""

KEEP_REFUSED: Final = 2.0
"""Seconds that a no is remembered: how long a new permission may have to wait."""

MAX_TOKENS: Final = 4_096
MAX_DECISIONS: Final = 16_384
"""Answers remembered at most: some megabytes, and more callers than a server has in ten seconds."""

MAX_TOKEN: Final = 32 * 1024
"""Characters of a token that is passed on to the cluster; real ones have a few thousand."""

RECHECK: Final = 60.0
"""Seconds between looks whether the caller of a stream may still have it."""

NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Judge(Protocol):
    """What is asked of the cluster; `xaas_kube.reviews.Reviews` is one."""

    async def owner(self, token: str) -> User | None:
        """Whose token it is; None if it isn't accepted. Raises Unavailable."""

    async def allows(self, user: User, act: Act) -> bool:
        """Whether the user may do it. Raises Unavailable."""


class ClusterAccess:
    """Implements `xaas_api.guard.Doorkeeper`.

    `namespace` is the server's default; `now` a clock in seconds that never goes back; `recheck`
    seconds between looks at the permission of a stream.
    """

    def __init__(
        self,
        judge: Judge,
        store: Store,
        namespace: str,
        now: Callable[[], float] = time.monotonic,
        recheck: float = RECHECK,
    ) -> None:
        self._judge = judge
        self._store = store
        self._namespace = namespace
        self._recheck = recheck
        self._owners: Remembered[bytes, User | None] = Remembered(MAX_TOKENS, _lasts, now)
        self._decisions: Remembered[tuple[User, Act], bool] = Remembered(MAX_DECISIONS, _lasts, now)

    async def admit(self, call: Call) -> Lapse | None:
        """See `Doorkeeper`. Of a path that doesn't exist only users of the cluster are told so."""
        rule = Rule() if call.route is None else rule_of(call.route)
        if rule.is_open:
            return None
        await self._check(call, rule)
        return partial(self._lapse, call, rule) if rule.streams else None

    async def _check(self, call: Call, rule: Rule) -> None:
        user = await self._authenticate(call.headers)
        if rule.path is not None:
            await self._demand(user, rule.path)
        if rule.needs:
            namespace = self._namespace_of(call)
            for need in rule.needs:
                name = "" if need.of is None else await self._named(need, call, namespace)
                await self._demand(user, need.act(namespace, name))

    async def _authenticate(self, headers: Headers) -> User:
        token = bearer_token(headers)
        if not token:
            text = "send a token of the cluster's as `Authorization: Bearer <token>`"
            raise _unauthorized(text, "Bearer")
        user = None
        if token.isascii() and len(token) <= MAX_TOKEN:
            # The digest: what is remembered mustn't open any door.
            digest = hashlib.sha256(token.encode()).digest()
            user = await self._owners.get(digest, lambda: self._judge.owner(token))
        if user is None:
            text = "the cluster doesn't accept this token; it may have expired"
            raise _unauthorized(text, 'Bearer error="invalid_token"')
        return user

    async def _demand(self, user: User, act: Act) -> None:
        if await self._decisions.get((user, act), lambda: self._judge.allows(user, act)):
            return
        # The object's own name stays unsaid: the caller may not know that it is there.
        raise ApiError(ProblemType.FORBIDDEN, f"{user.name} may not {act}")

    def _namespace_of(self, call: Call) -> str:
        """The namespace that the route will work in. Raises ApiError for what may be two."""
        given = call.query.getlist("namespace")
        if not given:
            return self._namespace
        if len(given) > 1:
            raise invalid_at("namespace", "give one namespace")
        if not NAMESPACE.fullmatch(given[0]):
            raise invalid_at("namespace", f"{given[0][:80]!r} can't be a namespace's name")
        return given[0]

    async def _named(self, need: Need, call: Call, namespace: str) -> str:
        """The `metadata.name` of the object that the path names; empty if there is none."""
        assert need.of is not None
        name = call.params[need.of]
        try:
            if need.resource == Resource.RUNS:
                meta = (await self._store.seen_run(name)).meta
            else:
                kind = KINDS[need.resource]
                meta = (await self._store.get_definition(kind, namespace, name)).meta
        except NotFound:
            return ""
        return (meta.resource_name or "") if meta.namespace == namespace else ""

    async def _lapse(self, call: Call, rule: Rule) -> None:
        while True:
            await asyncio.sleep(self._recheck)
            try:
                await self._check(call, rule)
            except Unavailable:
                continue  # nobody withdrew anything; the stream itself tells if nothing comes
            except ApiError:
                return


def _lasts(answer: object) -> float:
    """Seconds that an answer is remembered: a user, or True, longer than None or False."""
    return KEEP_ALLOWED if answer else KEEP_REFUSED


def _unauthorized(text: str, challenge: str) -> ApiError:
    return ApiError(ProblemType.UNAUTHORIZED, text, headers={"www-authenticate": challenge})
