"""What the bring-up says and does: one line for each step, and each failure with its cause."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import places

HEAD, TAIL = 3, 12
"""Lines of a log that are shown with a failure: some say the cause first, and then their usage."""


class ClusterFailure(Exception):
    """The cluster can't be had; the message says why and what to do."""


def say(text: str) -> None:
    """Print one line at once, also into a pipe."""
    print(text, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say what begins, and how long it took."""
    say(f"{text} ...")
    began = time.monotonic()
    yield
    say(f"    {time.monotonic() - began:.1f} s")


def ends(text: str) -> str:
    """The first and the last lines of a log, indented."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > HEAD + TAIL:
        lines[HEAD:-TAIL] = ["..."]
    return "\n".join(f"    {line[:400]}" for line in lines) or "    (nothing)"


def ends_of(log: Path) -> str:
    """The first and the last lines of a log file, with its name above."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return f"From {log}:\n{ends(text)}"


def run(
    command: Sequence[str | Path],
    *,
    given: str | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """Run a command to its end; gives its output.

    Raises ClusterFailure with what it said if it fails or isn't there.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(environment) if environment is not None else None,
            cwd=folder,
            check=False,
        )
    except FileNotFoundError as error:
        raise ClusterFailure(f"{words[0]} isn't there: {error}") from None
    if done.returncode != 0:
        raise ClusterFailure(
            f"{' '.join(words)[:500]}\nended with {done.returncode}:\n"
            f"{ends(done.stderr + done.stdout)}"
        )
    return done.stdout


@contextmanager
def locked(matter: str = "cluster") -> Iterator[None]:
    """One act in a `matter` at a time on this machine; a second one waits, and says so.

    `cluster` is bring-up and tear-down, `images` all that makes images, `helm` its build.
    """
    places.cache_folder().mkdir(parents=True, exist_ok=True)
    with (places.cache_folder() / f"{matter}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"Waiting for another process that is at work on the same ({matter}) ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write(file: Path, text: str, mode: int = 0o644) -> None:
    """Write a file whole or not at all, with its mode from the start."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as opened:
        opened.write(text)
    draft.replace(file)


def main(act: Callable[[], None], matter: str = "cluster") -> int:
    """Run `act` under the lock of `matter`; a failure is told, not thrown. Gives the exit code."""
    try:
        with locked(matter):
            act()
    except ClusterFailure as failure:
        print(f"\nFailed: {failure}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. `make cluster-down` clears what is left.", file=sys.stderr, flush=True)
        return 130
    return 0
