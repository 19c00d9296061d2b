import inspect
from pathlib import Path

import pytest

from xaas_cli.client import Api, escaped
from xaas_cli.connection import Connection, from_environment, read_token, served
from xaas_cli.failures import Misuse
from xaas_cli.serving import default_data


def test_what_is_said_last_wins(no_settings: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAAS_SERVER", "http://environment")
    monkeypatch.setenv("XAAS_NAMESPACE", "env")
    before, command = Connection("http://before", namespace="b"), Connection(namespace="c")
    assert from_environment() == Connection("http://environment", namespace="env")
    assert before.over(from_environment()) == Connection("http://before", namespace="b")
    assert command.over(before).over(from_environment()) == Connection(
        "http://before", namespace="c"
    )


def test_a_token_file_on_the_command_line_replaces_the_environments_token(
    no_settings: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAAS_TOKEN", "secret")
    assert from_environment().token == "secret"
    said = Connection(token_file=Path("f")).over(from_environment())
    assert said == Connection(token_file=Path("f"))


def test_token_and_token_file_exclude_each_other() -> None:
    with pytest.raises(Misuse, match="exclude each other"):
        Connection(token="t", token_file=Path("f")).open()


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("", 0o600, "must hold one word"),
        ("two words", 0o600, "must hold one word"),
        ("öffne", 0o600, "must hold one word"),
        ("word", 0o666, "chmod 600"),
    ],
)
def test_bad_token_files(tmp_path: Path, content: str, mode: int, said: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(Misuse, match=said):
        read_token(file)


def test_a_token_file_may_end_with_a_line_break(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("word\n")
    assert read_token(file) == "word"
    with pytest.raises(Misuse, match="can't be read"):
        read_token(tmp_path / "none")


def test_served_commands_have_their_own_options_and_the_connections() -> None:
    def command(api: Api, name: str, force: bool = False) -> None:
        """What it does."""

    made = served(command)
    assert list(inspect.signature(made).parameters) == [
        "context",
        "name",
        "force",
        "server",
        "token",
        "token_file",
        "namespace",
    ]
    assert made.__doc__ == "What it does."


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Task-1", "Task-1"),
        ("a/b", "a%2Fb"),
        ("タスク 1", "%E3%82%BF%E3%82%B9%E3%82%AF%201"),
        ("%2F", "%252F"),
    ],
)
def test_names_are_one_segment_of_a_path(name: str, path: str) -> None:
    assert escaped(name) == path


@pytest.mark.parametrize("server", ["ftp://x", "http://", "http://x:y", "http://x:99999", ""])
def test_addresses_that_are_none(server: str) -> None:
    with pytest.raises(Misuse, match="is no address of a server; write http://HOST:PORT"):
        Api(server)


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("localhost:9", "http://localhost:9"),
        ("https://x/y/", "https://x/y"),
        ("[::1]:9", "http://[::1]:9"),
    ],
)
def test_addresses_may_be_short(server: str, address: str) -> None:
    with Api(server) as api:
        assert api.server == address


def test_data_are_where_the_user_keeps_data(
    no_settings: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_data() == tmp_path / ".local/share/xaas"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_data() == Path("/data/xaas")
    monkeypatch.setenv("XAAS_DATA", "/elsewhere")
    assert default_data() == Path("/elsewhere")
