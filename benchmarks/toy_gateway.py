"""A gateway that does nothing but answer: for what a step costs without the product around it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Answer = Callable[[str, str, Json], Json]
"""What to answer, by the call's path, its token and its message."""


def go(ref: str, script: str) -> Json:
    """The answer to a step's `begin`: this script."""
    context = {
        "run_id": "bench",
        "pipeline": "bench",
        "ref": ref,
        "task": "bench",
        "process_type": "do",
        "step": 0,
        "attempt": 1,
        "namespace": "default",
    }
    return {
        "answer": "go",
        "script": script,
        "params": {},
        "context": context,
        "allowed_imports": [],
        "budget_ms": None,
    }


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    """Answer the calls of one runner until it hangs up."""
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except asyncio.IncompleteReadError:
            break
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        said = json.loads(await reader.readexactly(int(fields["content-length"])))
        path, token = head[0].split(" ", 2)[1], fields["authorization"].split(" ")[1]
        body = json.dumps(answer(path, token, said)).encode()
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    writer.close()
