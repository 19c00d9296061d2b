"""Where secrets come from: the server's environment, or files of its owner's.

The value of key `password` of the secret `db-main` is the environment's `XAAS_SECRET_DB_MAIN_PASSWORD`
or, if there is none, the content of `<data>/secrets/db-main/password`, without the line break
that an editor leaves at its end. The file must be its owner's alone (mode 600 or stricter).
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from xaas_core.engine.plan import SecretRef

MAX_BYTES: Final = 1024 * 1024
"""As in Kubernetes."""


class SecretUnusable(Exception):
    """There is no such value, or it isn't kept safe; the text names it, never its content."""


def variable(ref: SecretRef) -> str:
    """The name in the environment."""
    return re.sub(r"[^A-Z0-9]", "_", f"XAAS_SECRET_{ref.secret}_{ref.key}".upper())


def read_secret(ref: SecretRef, folder: Path, environment: Mapping[str, str]) -> str:
    """The value of a secret. Raises SecretUnusable."""
    name = variable(ref)
    if name in environment:
        return environment[name]
    title = f"key {ref.key!r} of the secret {ref.secret!r}"
    for part in (ref.secret, ref.key):
        if "/" in part or "\0" in part or part in ("", ".", ".."):
            raise SecretUnusable(f"{title} can't be a file's name: set {name} in the environment")
    path = folder / ref.secret / ref.key
    try:
        content = _read_private(path)
    except FileNotFoundError:
        raise SecretUnusable(
            f"{title} is missing: set {name} in the server's environment, or write it to {path}"
        ) from None
    except OSError as error:
        raise SecretUnusable(f"{title} can't be read: {error}") from None
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise SecretUnusable(f"{title} ({path}) isn't text in UTF-8") from None


def _read_private(path: Path) -> bytes:
    # Not to wait for a writer, should it be a pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise SecretUnusable(f"{path} is no plain file")
        if stat.S_IMODE(found.st_mode) & 0o177:
            raise SecretUnusable(
                f"{path} may be read by others (mode {stat.S_IMODE(found.st_mode):03o}): "
                "`chmod 600` it"
            )
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise SecretUnusable(f"{path} is larger than {MAX_BYTES} bytes")
    return content.removesuffix(b"\n").removesuffix(b"\r")
