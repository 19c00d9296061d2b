"""The log of one step: one record a line, on a file descriptor of its own.

`logger` writes `2026-01-02T03:04:05.678Z INFO message`; line breaks and control characters inside
a message are written as escapes, so a message is one line whatever it holds. `print` writes its
text as it is, line by line; a printed line that would read as a record of the runner's gets a
blank before it. So nothing that a script writes can pass for a record it didn't make.

Secrets are masked before anything is cut or written, for no mask finds half of one. What is printed is
masked as one stream: what may go on to be a secret is held back until that is clear.

At most MAX_LOG_BYTES are written per step, then a closing line says so. A log that can't be written
(disk full, reader gone) never fails a step.
"""

import json
import os
import re
import time
from collections.abc import Iterable
from typing import Any, Final

MAX_LOG_BYTES: Final = 8 * 1024 * 1024
"""All that one step may write."""

MAX_MESSAGE_CHARACTERS: Final = 64 * 1024
"""Longest record; also how long a printed line may grow before it is written."""

Path = tuple[str | int, ...]

MASK: Final = "***"
SHORTEST_SECRET: Final = 4
"""Shorter values aren't masked: they would blot out half of the log and show what they are."""

LONG_SECRET: Final = 8
"""A shorter value within a word is likely part of it (`test` in `latest`)."""

# All that some reader takes for the end of a line, the other control characters, and ESC but for
# colours (a terminal's other sequences can hide lines).
_CONTROL: Final = r"\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"
_IN_RECORD: Final = re.compile(rf"[\n{_CONTROL}]|\x1b(?!\[[0-9;]*m)")
_IN_PRINT: Final = re.compile(rf"[{_CONTROL}]|\x1b(?!\[[0-9;]*m)")
_RECORD: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", re.ASCII)


class Mask:
    """Replaces secrets' values, also as they look inside JSON and inside a repr."""

    def __init__(self, values: Iterable[str]) -> None:
        forms: set[str] = set()
        for value in values:
            for form in (value, value.strip()):
                forms |= {form, repr(form)[1:-1], ascii(form)[1:-1], json.dumps(form)[1:-1]}
                forms.add(json.dumps(form, ensure_ascii=False)[1:-1])
        # The longest first: one secret may begin with another.
        self._forms = sorted((f for f in forms if len(f) >= SHORTEST_SECRET), key=len, reverse=True)
        self._telling = [re.compile(_telling(form)) for form in self._forms]

    def hide(self, text: str) -> str:
        """Return the text with every secret replaced by MASK. Of a whole text: cut it afterwards."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def settled(self, text: str) -> int:
        """How much of a text can be masked while more of it is to come: the rest may begin a secret."""
        end, last = len(text), text[-1]
        for form in self._forms:
            # Only where the form has the text's last character: mostly nowhere, as that ends a line.
            most = min(len(form) - 1, len(text))
            while (most := form.rfind(last, 0, most)) >= 0:
                if text.endswith(form[: most + 1]):
                    end = min(end, len(text) - most - 1)
                    break
        # A secret may end as one begins (`-----`): the cut is to go through none.
        found = end < len(text)
        while found:
            found = False
            for form in self._forms:
                start = text.find(form, max(0, end - len(form) + 1), end + len(form) - 1)
                if start >= 0:
                    end, found = start, True
        return end

    def finds(self, text: str) -> bool:
        """Whether the text holds a secret that isn't there by accident."""
        return any(pattern.search(text) for pattern in self._telling)

    def place(self, value: Any, path: Path = ()) -> Path | None:
        """Where in a JSON value, itself at `path`, a text or a key first holds a secret."""
        items: Iterable[tuple[str | int, Any]] = ()
        if isinstance(value, dict):
            items = value.items()
        elif isinstance(value, list):
            items = enumerate(value)
        elif self.finds(str(value)):
            return path
        for key, item in items:
            if isinstance(key, str) and self.finds(key):
                return (*path, key)
            found = self.place(item, (*path, key))
            if found is not None:
                return found
        return None


def _telling(form: str) -> str:
    """The pattern of a text that gives the secret away: a short one counts where words begin."""
    pattern = re.escape(form)
    if len(form) < LONG_SECRET:
        before = r"(?<![^\W_])" if form[0].isalnum() else ""
        after = r"(?![^\W_])" if form[-1].isalnum() else ""
        pattern = before + pattern + after
    return pattern


class StepLog:
    """Writes records and printed text to `fd`."""

    def __init__(self, mask: Mask, fd: int) -> None:
        self._mask = mask
        self._fd = fd
        self._left = MAX_LOG_BYTES
        self._held = ""  # printed, but not written yet

    def record(self, level: str, message: str) -> None:
        """Write one record. `level` is a word of ours."""
        self._end_line()
        if self._left <= 0:
            return
        hidden = self._mask.hide(message)
        text = _IN_RECORD.sub(_escape, hidden[:MAX_MESSAGE_CHARACTERS])
        if len(message) > MAX_MESSAGE_CHARACTERS:
            text += f" … ({len(message)} characters in all)"
        self._write(f"{_now()} {level} {text}\n")

    def print(self, text: str) -> None:
        """Write what a script prints. A line is written when it is complete."""
        if self._left <= 0:
            return
        self._held += text
        if "\n" not in self._held and len(self._held) <= MAX_MESSAGE_CHARACTERS:
            return
        settled = self._mask.settled(self._held)
        *lines, rest = self._mask.hide(self._held[:settled]).split("\n")
        if len(rest) > MAX_MESSAGE_CHARACTERS:
            lines.append(rest)
            rest = ""
        self._held = rest + self._held[settled:]
        self._write("".join(_printed(line) for line in lines))

    def close(self) -> None:
        """Write what was printed without an end of line."""
        self._end_line()

    def _end_line(self) -> None:
        if self._held:
            held, self._held = self._held, ""
            lines = self._mask.hide(held).removesuffix("\n").split("\n")
            self._write("".join(_printed(line) for line in lines))

    def _write(self, text: str) -> None:
        if self._left <= 0:
            return
        data = text.encode("utf-8", "backslashreplace")
        if len(data) > self._left:
            # Cut at the end of a line: what follows is the marker, on a line of its own.
            data = data[: data.rfind(b"\n", 0, self._left) + 1] + (
                f"{_now()} WARNING the log ends here: a step may write "
                f"{MAX_LOG_BYTES // 1024 // 1024} MiB\n".encode()
            )
            self._left = 0
        self._left -= len(data)
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except OSError:
            self._left = 0


def _printed(line: str) -> str:
    text = _IN_PRINT.sub(_escape, line)
    return f" {text}\n" if _RECORD.match(text) else f"{text}\n"


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _now() -> str:
    seconds = time.time()
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{clock}.{int(seconds * 1000) % 1000:03d}Z"
