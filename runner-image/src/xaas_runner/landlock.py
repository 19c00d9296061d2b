"""The files that a step may open: Landlock, by ctypes, without privileges.

What isn't listed can't be opened, whoever the user is: not even root's own files. The kernel
knows more rights with every ABI version; what an older one lacks is left out, so the result is
the most that this kernel can do (`restrict` returns the version). Connecting to a Unix socket by
its path isn't covered: the gateway's stays reachable, also after it was made anew.
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from typing import Final

from xaas_runner.seccomp import Unavailable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION: Final = 1
_PATH_BENEATH: Final = 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_TRUNCATE: Final = 1 << 14
_ON_FILES: Final = 1 << 0 | _WRITE_FILE | _READ_FILE | _TRUNCATE | 1 << 15
# Rights by the ABI version that brought them: 13 to begin with, then refer, truncate, ioctl.
_RIGHTS: Final = ((1, (1 << 13) - 1), (2, 1 << 13), (3, _TRUNCATE), (5, 1 << 15))
_MAKE: Final = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8  # remove and make files and folders
_BIND_TCP, _CONNECT_TCP = 1, 2  # since 4
_SCOPES: Final = 1 | 2  # since 6: abstract Unix sockets and signals stay inside


def restrict(libc: ctypes.CDLL, *, read: Iterable[str], write: Iterable[str], connect: bool) -> int:
    """Restrict this thread and all it starts; return the kernel's ABI version.

    `read`: files and folders to read from; `write`: folders to make, change and remove files in
    (`/dev/null` and the like may be named too). Paths that don't exist are left out. `connect`:
    whether TCP connections may be made; none may be accepted. no_new_privs must be set. Raises
    Unavailable where the kernel has no Landlock.
    """
    version = libc.syscall(
        ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION)
    )
    if version < 1:
        raise Unavailable(ctypes.get_errno(), "the kernel has no Landlock")
    handled = sum(bits for since, bits in _RIGHTS if version >= since)
    network = _BIND_TCP if connect else _BIND_TCP | _CONNECT_TCP
    attributes = struct.pack("=QQQ", handled, network, _SCOPES)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(
        ctypes.c_long(_CREATE_RULESET), attributes, ctypes.c_size_t(size), ctypes.c_uint32(0)
    )
    if ruleset < 0:
        raise Unavailable(ctypes.get_errno(), "the kernel refuses a Landlock ruleset")
    try:
        for path in read:
            _allow(libc, ruleset, path, (_READ_FILE | _READ_DIR) & handled)
        for path in write:
            rights = _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _MAKE
            _allow(libc, ruleset, path, rights & handled)
        if libc.syscall(ctypes.c_long(_RESTRICT_SELF), ctypes.c_int(ruleset), ctypes.c_uint32(0)):
            raise Unavailable(ctypes.get_errno(), "the kernel refuses to restrict the process")
    finally:
        os.close(ruleset)
    return int(version)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _ON_FILES
        rule = struct.pack("=Qi", rights, target)
        libc.syscall(
            ctypes.c_long(_ADD_RULE),
            ctypes.c_int(ruleset),
            ctypes.c_int(_PATH_BENEATH),
            rule,
            ctypes.c_uint32(0),
        )
    finally:
        os.close(target)
