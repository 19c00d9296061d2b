"""Where a server listens."""

import socket
from contextlib import closing

import pytest

from xaas_core.serving import StartError, listen, url_of


def reached(listener: socket.socket, host: str) -> bool:
    listener.listen()
    with closing(socket.create_connection((host, listener.getsockname()[1]), 5)) as caller:
        return bool(caller.getpeername())


def test_everywhere_is_ipv4_and_ipv6_where_there_is_that() -> None:
    with listen("", 0) as listener:
        assert reached(listener, "127.0.0.1")
        if socket.has_dualstack_ipv6():
            assert reached(listener, "::1")


def test_one_address_is_that_one_only() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert reached(listener, "127.0.0.1")


@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_a_port_that_is_taken_is_told(host: str) -> None:
    with listen(host, 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(StartError, match=f"port {port} of .* is taken"):
            listen(host, port)
