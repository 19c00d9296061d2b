import pytest

from xaas_cli.feed import Message, messages

EVENT = '{"event": "Pipeline", "content": {}}'
READ = {"event": "Pipeline", "content": {}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("retry: 1000\nid: c0\n\n", [Message("c0", None)]),
        (f"id: c1\nevent: Pipeline\ndata: {EVENT}\n\n", [Message("c1", READ)]),
        (f"data:{EVENT}\n\n", [Message(None, READ)]),
        (": still here\n\n", []),
        ("data: {\ndata: nonsense\n\n", [Message(None, None)]),
        ('data: {"event": "Pipeline",\ndata: "content": {}}\n\n', [Message(None, READ)]),
        (
            f"id: c1\ndata: {EVENT}\n\nid: c2\ndata: {EVENT}\n\n",
            [Message(c, READ) for c in ("c1", "c2")],
        ),
        (f"id: c1\ndata: {EVENT}\n", []),  # broken off: it comes again
    ],
)
def test_messages(text: str, expected: list[Message]) -> None:
    assert list(messages(text.splitlines())) == expected
