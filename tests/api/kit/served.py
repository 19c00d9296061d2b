"""An API in this process, over a real socket."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from xaas_api.app import Api
from xaas_core.serving import Parts, Server, listen, url_of


@asynccontextmanager
async def served(api: Api) -> AsyncIterator[str]:
    """The address at which `api` is served."""
    parts = Parts()
    listener = parts.stack.enter_context(listen("127.0.0.1", 0))
    try:
        await parts.stack.enter_async_context(api.running())
        await parts.serve("api", Server(api, stop_within=1, web_sockets=True), listener)
        yield url_of(listener)
    finally:
        await parts.close()
