"""A cluster's users and permissions in memory: what the API server's reviews decide by."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace

from xaas_core.models.objects import Meta
from xaas_core.ports import Unavailable
from xaas_core.testing.memory_store import MemoryStore
from xaas_kube.reviews import Act, OnObjects, User


@dataclass
class RuleBook:
    """Implements `xaas_api.cluster_access.Judge`, by RBAC's rules: a grant of all includes each.

    `asked` counts the questions, by token or by user and act.
    """

    tokens: dict[str, User] = field(default_factory=dict)
    grants: set[tuple[str, Act]] = field(default_factory=set)
    asked: Counter[object] = field(default_factory=Counter)
    is_away: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def user(self, name: str, *acts: Act) -> dict[str, str]:
        """A new user who may do `acts`; gives the headers to call with."""
        self.tokens[f"token-of-{name}"] = User(name, groups=("system:authenticated",))
        self.grants |= {(name, act) for act in acts}
        return {"authorization": f"Bearer token-of-{name}"}

    async def owner(self, token: str) -> User | None:
        """See `Judge`."""
        self._answer(token)
        return self.tokens.get(token)

    async def allows(self, user: User, act: Act) -> bool:
        """See `Judge`."""
        self._answer((user.name, act))
        whole = replace(act, name="") if isinstance(act, OnObjects) else act
        return bool({(user.name, act), (user.name, whole)} & self.grants)

    async def until_asked(self, question: object, times: int) -> None:
        """Wait until a question was asked so often."""
        while self.asked[question] < times:
            self._news.clear()
            await self._news.wait()

    def _answer(self, question: object) -> None:
        self.asked[question] += 1
        self._news.set()
        if self.is_away:
            raise Unavailable("the API server doesn't answer")


class NamedStore(MemoryStore):
    """Objects have names of their own here, as on Kubernetes."""

    def _new_meta(self, namespace: str) -> Meta:
        meta = super()._new_meta(namespace)
        return replace(meta, resource_name=f"object-{meta.resource_version}")
