"""Who calls, and what they may do, as a real cluster says it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml
from tests.api.kit.client import Json
from tests.api.kit.cluster import Home, home, may
from tests.cluster.kubectl import Kubectl

from xaas_core.ports import Unavailable
from xaas_kube import reviews
from xaas_kube.client import KubeClient
from xaas_kube.reviews import OnObjects, OnPath, Reviews, User, Verb

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def there(kubectl: Kubectl) -> Iterator[Home]:
    with home(kubectl) as made:
        yield made


@contextlib.asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Reviews]:
    """Questions asked with the access that `kubeconfig` gives."""
    client = await KubeClient.connect(kubeconfig)
    yield Reviews(client)
    await client.close()


@pytest.fixture
async def asking(kubeconfig: Path) -> AsyncIterator[Reviews]:
    async with connected(kubeconfig) as made:
        yield made


@pytest.fixture
def access(kubeconfig: Path) -> Json:
    """The admin's access, to be changed."""
    found: Json = yaml.safe_load(kubeconfig.read_text())
    return found


@contextlib.asynccontextmanager
async def client_of(config: Json, folder: Path) -> AsyncIterator[Reviews]:
    """Questions asked with another access to the cluster."""
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    async with connected(file) as made:
        yield made


async def owner(asking: Reviews, token: str) -> User:
    user = await asking.owner(token)
    assert user is not None
    return user


async def test_the_owner_of_a_token(asking: Reviews, there: Home) -> None:
    user = await owner(asking, there.user("ann"))
    assert user.name == f"system:serviceaccount:{there.name}:ann"
    assert user.uid == there.get("serviceaccount", "ann")["metadata"]["uid"]
    assert {"system:authenticated", f"system:serviceaccounts:{there.name}"} <= set(user.groups)
    assert hash(user) == hash(user)


@pytest.mark.parametrize("token", ["x", "a.b.c", "\x7f", "x" * 20_000])
async def test_a_token_of_nobody_s(asking: Reviews, token: str) -> None:
    assert await asking.owner(token) is None


async def test_what_a_role_allows(asking: Reviews, there: Home) -> None:
    rules = [
        may("get", on=["pipelines"]),
        may("patch", on=["pipelineruns"], names=["mine"]),
        may("get", on=["pods/log"], group=""),
    ]
    user = await owner(asking, there.user("bob", *rules))

    def on(verb: Verb, resource: str, namespace: str = there.name, **further: str) -> OnObjects:
        return OnObjects(verb, resource, namespace, **further)

    for act, allowed in (
        (on(Verb.GET, "pipelines"), True),
        (on(Verb.GET, "pipelines", name="any"), True),
        (on(Verb.LIST, "pipelines"), False),
        (on(Verb.GET, "pipelines", "default"), False),
        (on(Verb.GET, "pipelines", group="example.com"), False),
        (on(Verb.PATCH, "pipelineruns", name="mine"), True),
        (on(Verb.PATCH, "pipelineruns", name="other"), False),
        (on(Verb.PATCH, "pipelineruns"), False),
        (on(Verb.GET, "pods", part="log", group=""), True),
        (on(Verb.GET, "pods", group=""), False),
        (OnPath(Verb.GET, "/metrics"), False),
        (OnPath(Verb.GET, "/healthz"), True),  # the cluster lets everybody look at that
    ):
        assert await asking.allows(user, act) is allowed, str(act)


async def test_groups_count(asking: Reviews) -> None:
    act = OnObjects(Verb.DELETE, "pipelines", "default")
    assert not await asking.allows(User("ann", groups=("system:authenticated",)), act)
    assert await asking.allows(User("ann", groups=("system:masters",)), act)


async def test_the_end_of_an_account(asking: Reviews, there: Home) -> None:
    """The API server itself remembers a token for 10 seconds."""
    token = there.user("leaving")
    await owner(asking, token)
    there.kubectl("delete", "serviceaccount", "leaving")
    async with asyncio.timeout(30):
        while await asking.owner(token) is not None:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.5)


async def test_who_may_not_ask(
    access: Json, there: Home, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token = there.user("curious")
    for user in access["users"]:
        user["user"] = {"token": token}
    async with client_of(access, tmp_path) as asking:
        for asked in (
            asking.owner(token),
            asking.allows(User("ann"), OnPath(Verb.GET, "/metrics")),
        ):
            with pytest.raises(Unavailable, match="can't say who may call"):
                await asked
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ["system:auth-delegator" in record.getMessage() for record in told] == [True, True]


async def test_nobody_to_ask(access: Json, tmp_path: Path) -> None:
    for cluster in access["clusters"]:
        cluster["cluster"]["server"] = "https://127.0.0.1:1"
    async with client_of(access, tmp_path) as asking:
        with pytest.raises(Unavailable, match="can't say who may call"):
            await asking.owner("x")


class SilentServer:
    """Takes requests and closes their connections when it is told to `go_on`; never answers."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.go_on = asyncio.Event()

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.heard.append((await reader.readline()).decode())
        ended = asyncio.ensure_future(reader.read())
        told = asyncio.ensure_future(self.go_on.wait())
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        told.cancel()
        writer.close()


@pytest.fixture
async def silent() -> AsyncIterator[tuple[SilentServer, str]]:
    """Such a server, and its address."""
    silent = SilentServer()
    async with await asyncio.start_server(silent.hear, "127.0.0.1") as server:
        yield silent, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_no_answer_in_time(
    access: Json,
    tmp_path: Path,
    silent: tuple[SilentServer, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reviews, "ANSWER_WITHIN", 0.1)
    server, url = silent
    for cluster in access["clusters"]:
        cluster["cluster"]["server"] = url
    async with client_of(access, tmp_path) as asking:
        with pytest.raises(Unavailable, match=r"can't say who may call: no answer in 0\.1 s"):
            await asking.owner("x")
    assert ["tokenreviews" in line for line in server.heard] == [True]


async def test_a_flood_takes_turns(
    access: Json, tmp_path: Path, silent: tuple[SilentServer, str]
) -> None:
    server, url = silent
    for cluster in access["clusters"]:
        cluster["cluster"]["server"] = url
    many = reviews.AT_ONCE + 5
    async with client_of(access, tmp_path) as asking:
        asked = asyncio.gather(*(asking.owner(str(n)) for n in range(many)), return_exceptions=True)
        await asyncio.sleep(0.5)
        assert len(server.heard) == reviews.AT_ONCE
        # The other kind of question has turns of its own.
        other = asyncio.ensure_future(asking.allows(User("ann"), OnPath(Verb.GET, "/metrics")))
        await asyncio.sleep(0.2)
        assert "subjectaccessreviews" in server.heard[-1]
        server.go_on.set()
        assert [type(error) for error in await asked] == [Unavailable] * many
        with pytest.raises(Unavailable):
            await other
    assert len(server.heard) >= many + 1
