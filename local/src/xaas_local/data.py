"""The data directory: all that the embedded product keeps, for its owner alone.

lock                              held by the one server; holds its pid
key                               signs the runners' tokens
xaas.db                           the store (and -wal, -shm beside it)
gateway.sock                      where runners call
runners/journal                   the launches: what was started, and how it ended if badly
runners/<slot>.lock               locked by a step's process for as long as it lives
logs/<run>/<runner>.<step>.log    what a step wrote
scratch/<runner>.<step>/          where a step may write; gone when it is over
secrets/<secret>/<key>            values of secrets, put there by the owner
"""

import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final, Self

_KEY_BYTES: Final = 32
_LONGEST_SOCKET_PATH: Final = 100
"""Bytes: the systems' limits are 104 (macOS) and 108 (Linux), with the closing zero."""


class DataDirError(Exception):
    """The data directory can't be used; the text says why and what to do."""


class DataDir:
    """Holds the directory from `open` to `close`. All paths are absolute."""

    def __init__(self, path: Path, lock: int, key: bytes) -> None:
        self.path = path
        self.key = key
        self.database = path / "xaas.db"
        self.gateway_socket = path / "gateway.sock"
        self.runners = path / "runners"
        self.logs = path / "logs"
        self.scratch = path / "scratch"
        self.secrets = path / "secrets"
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make the directory or take it over. Raises DataDirError."""
        path = path.expanduser().absolute()
        socket = os.fsencode(path / "gateway.sock")
        if len(socket) > _LONGEST_SOCKET_PATH:
            raise DataDirError(
                f"the path of the data directory {path} is too long: a Unix socket in it "
                f"may have {_LONGEST_SOCKET_PATH} bytes, this one has {len(socket)}"
            )
        try:
            _claim(path)
            lock = _take_lock(path / "lock")
            try:
                data = cls(path, lock, _read_key(path / "key"))
                for folder in (data.runners, data.logs, data.scratch, data.secrets):
                    folder.mkdir(mode=0o700, exist_ok=True)
            except BaseException:
                os.close(lock)
                raise
        except OSError as error:
            raise DataDirError(f"the data directory {path} can't be used: {error}") from error
        return data

    def close(self) -> None:
        """Let another server in."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def clean_scratch(self, keep: Collection[str]) -> None:
        """Remove the scratch folders whose names aren't in `keep`."""
        for folder in self.scratch.iterdir():
            if folder.name not in keep:
                shutil.rmtree(folder, ignore_errors=True)


def _claim(path: Path) -> None:
    """The directory exists and is its owner's alone."""
    if not path.exists():
        path.mkdir(mode=0o700, parents=True)
        return
    if not path.is_dir():
        raise DataDirError(f"{path} is no directory: name another for the data")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        ours = (path / "lock").exists() or not any(path.iterdir())
        if not ours:
            raise DataDirError(
                f"{path} holds other files and is open to other users: name a directory of its "
                "own for the data, or `chmod 700` this one"
            )
        path.chmod(0o700)


def _take_lock(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise DataDirError(
            f"a server (pid {pid}) uses the data directory {path.parent} already: "
            "stop it, or name another directory"
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock


def _read_key(path: Path) -> bytes:
    """The key, made when there is none. Under the lock: nobody else makes one."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        key = secrets.token_bytes(_KEY_BYTES)
        write_private(path, key)
    if len(key) < _KEY_BYTES:
        raise DataDirError(
            f"the key {path} is damaged: remove it (what runs now will be lost to the server)"
        )
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o600)
    return key


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 600, whole or not at all: also a crash leaves no half of it."""
    half = path.with_name(f"{path.name}.new")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    half.replace(path)
