"""Tokens: each opens one attempt; nothing that isn't ours opens any."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xaas_core.engine.states import Side
from xaas_core.ports import RunnerKey
from xaas_core.tokens import IdleRunner, Tokens

RUNNER = RunnerKey("8b0f0e9e-0000-4000-8000-000000000000", "タスク 1/é", Side.UNDO, 3, 2)
OURS = Tokens(b"k" * 32)


def encoded(data: bytes) -> str:
    """As the parts of a token are written."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@given(
    st.uuids().map(str),
    st.text(min_size=1, max_size=20),
    st.sampled_from(Side),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
)
def test_a_token_names_its_runner(
    run: str, ref: str, side: Side, attempt: int, launch: int
) -> None:
    runner = RunnerKey(run, ref, side, attempt, launch)
    token = OURS.issue(runner)
    assert OURS.read(token) == runner
    assert token.isascii()
    assert not set(token) & set(" \r\n\t,;=/+"), "it goes into a header as it is"


def test_a_token_is_the_same_on_every_replica_and_after_a_restart() -> None:
    assert Tokens(b"k" * 32).issue(RUNNER) == OURS.issue(RUNNER)
    assert Tokens(b"other" * 8).read(OURS.issue(RUNNER)) is None


def test_an_idle_runners_token_opens_no_attempt() -> None:
    idle = IdleRunner("team-a", "xaas-idle-1")
    token = OURS.issue_idle(idle)
    assert OURS.read(token) == idle
    assert Tokens(b"other" * 8).read(token) is None


def test_another_attempt_has_another_token() -> None:
    others = [
        RunnerKey(RUNNER.run, RUNNER.ref, RUNNER.side, 3, 1),
        RunnerKey(RUNNER.run, RUNNER.ref, RUNNER.side, 32, 0),
        RunnerKey(RUNNER.run, RUNNER.ref, Side.DO, 3, 2),
    ]
    assert OURS.issue(RUNNER) not in {OURS.issue(other) for other in others}


CLAIMS, SIGNATURE = OURS.issue(RUNNER).split(".")
FORGED = encoded(json.dumps([RUNNER.run, RUNNER.ref, "do", 3, 2]).encode())


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        CLAIMS,
        SIGNATURE,
        f"{CLAIMS}.",
        f".{SIGNATURE}",
        f"{FORGED}.{SIGNATURE}",
        f"{CLAIMS}.{SIGNATURE}.{SIGNATURE}",
        f"{CLAIMS}.{SIGNATURE[:-4]}",
        f"{CLAIMS}.{encoded(b'0' * 32)}",
        f"{CLAIMS} .{SIGNATURE}",
        f"{CLAIMS}.{SIGNATURE}\n",
        f"{SIGNATURE}.{CLAIMS}",
        "é.ü",
        "\x00.\x00",
        "a" * 100_000,
        "none.none",
        encoded(b"null") + "." + encoded(b""),
    ],
)
def test_a_forged_token_opens_nothing(token: str) -> None:
    assert OURS.read(token) is None


@given(st.text(max_size=60))
def test_any_text_is_read_without_an_error(token: str) -> None:
    assert OURS.read(token) is None
