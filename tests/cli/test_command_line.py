"""What needs no server: help, misuse, and a server that isn't there."""

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

COMMANDS = (
    "up demo apply delete run watch start cancel recovery rollback suspend resume get describe logs"
    " events"
)


def test_help_lists_all_commands(alone: Callable[..., Any]) -> None:
    ended = alone("--help")
    assert ended.code == 0
    assert all(f" {command} " in ended.out for command in COMMANDS.split())


@pytest.mark.parametrize("command", COMMANDS.split())
def test_each_command_has_help(alone: Callable[..., Any], command: str) -> None:
    ended = alone(command, "-h")
    assert ended.code == 0
    assert f"xaas {command}" in ended.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command"),
        (["run"], "Missing argument"),
        (["run", "p", "-p", "x"], "-p x: write -p key=text"),
        (["run", "p", "-p", "x:=y"], "'y' isn't JSON"),
        (["run", "p", "--parameters", "/none.yaml"], "/none.yaml: No such file"),
        (["run", "p", "--watch", "--pending"], "--watch can't be combined"),
        (["get", "things"], "'things' is no kind of object. Known are: tasks"),
        (["get", "tasks", "--status", "complete"], "are for runs"),
        (["get", "runs", "-o", "xml"], "Invalid value"),
        (["delete", "task", "t", "--force"], "--force is for runs"),
        (["apply", "-f", "/none.yaml"], "/none.yaml: No such file"),
        (["get", "runs", "--server", "ftp://x"], "is no address"),
        (["get", "runs", "--token-file", "/none"], "/none can't be read"),
    ],
)
def test_misuse_ends_with_2_and_says_what_is_wrong(
    alone: Callable[..., Any], arguments: list[str], said: str
) -> None:
    ended = alone(*arguments)
    assert ended.code == 2
    assert said in " ".join(ended.err.replace("│", " ").split())
    assert ended.out == ""


def test_without_a_server_it_says_how_to_start_one(
    alone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for arguments in (
            ["--server", address, "get", "runs"],
            ["get", "runs", "--server", address],
        ):
            ended = alone(*arguments)
            assert ended.code == 1
            assert f"No server answers at {address} (connection refused)." in ended.err
            assert "`xaas up`" in ended.err


def test_another_servers_answers_are_told_apart(alone: Callable[..., Any]) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        ended = alone("get", "runs", "--server", f"http://127.0.0.1:{server.server_address[1]}")
    assert ended.code == 1
    assert "is it an xaas server?" in ended.err
