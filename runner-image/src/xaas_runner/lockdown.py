"""The operating system's layers around a script, put on by the process itself before it begins.

    limits    memory, CPU time, file size, open files, no core files     rlimits, everywhere
    files     read: Python's own, certificates, resolver; write: scratch  Landlock, Linux 5.13+
    calls     no programs, no processes, no odd sockets, ...              seccomp, x86_64/aarch64
    itself    no new privileges, not to be inspected by others            prctl, Linux

Nothing here needs a privilege, and nothing is fatal when the machine lacks it: every layer that
can be had is put on, and `report` says in words which are in force. None of them is what keeps
apart users who distrust each other: that is a container's job.
"""

import contextlib
import ctypes
import functools
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from xaas_runner import landlock, seccomp
from xaas_runner.seccomp import Network

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

HEADROOM_BYTES: Final = 32 * 1024 * 1024
"""Beyond the memory limit, to report in when the script has used all of it."""

CPU_GRACE_S: Final = 2
"""CPU time between the signal that stops a script and the one that ends the process."""

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
MAX_OPEN_FILES: Final = 256

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_M_ARENA_MAX: Final = -8

# What libc and OpenSSL read when a name is looked up or a certificate is checked, the shared
# libraries of modules that are imported late, and time zones.
_READ: Final = (
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/nsswitch.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/dev/urandom",
    "/dev/random",
)
_WRITE: Final = ("/dev/null",)

_report: dict[str, str] = {}


class Limits(NamedTuple):
    """What a step may use beyond what the runner itself uses; None is unlimited."""

    memory_bytes: int | None = None
    cpu_seconds: int | None = None


def prepare(network: Network = Network.STREAMS) -> None:
    """Work out what is the same in every process that is forked from this one.

    Where modules are imported from (sys.path) has to be known by now.
    """
    if sys.platform.startswith("linux"):
        _libc()
        _readable()
        with contextlib.suppress(OSError):
            seccomp.template(os.uname().machine, network)


def lock_down(
    limits: Limits, *, scratch: str | None = None, network: Network = Network.STREAMS
) -> dict[str, str]:
    """Put every layer on that this machine has; return what `report` returns.

    Once per process, from its only thread. `scratch`: the folder to write in.
    """
    _report.clear()
    _report["limits"] = _set_limits(limits)
    if not sys.platform.startswith("linux"):
        missing = f"not available on {sys.platform}"
        _report.update(itself=missing, files=missing, calls=missing)
        return report()
    libc = _libc()
    _bound_arenas(libc)
    _report["itself"] = _keep_to_itself(libc)
    try:
        version = landlock.restrict(
            libc,
            read=_readable(),
            write=[*_WRITE, *([scratch] if scratch else [])],
            connect=network is not Network.NONE,
        )
        _report["files"] = f"in force: Landlock, ABI {version}"
    except OSError as error:
        _report["files"] = f"not available: {error.strerror}"
    try:
        seccomp.install(libc, network)
        _report["calls"] = f"in force: seccomp, network: {network.value}"
    except OSError as error:
        _report["calls"] = f"not available: {error.strerror}"
    return report()


def report() -> dict[str, str]:
    """Return for each layer whether it is in force in this process, in words."""
    return dict(_report) or dict.fromkeys(("limits", "itself", "files", "calls"), "not asked for")


def release_headroom() -> None:
    """The script has ended: let its report use the headroom."""
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        _set(resource.RLIMIT_AS, hard, hard)


def prepare_resolver() -> None:
    """Have libc look names up over TCP: UDP sockets are refused under Network.STREAMS."""
    os.environ["RES_OPTIONS"] = "use-vc"


def forget_environment() -> None:
    """Empty the environment, also where `/proc/<pid>/environ` reads it from."""
    libc = ctypes.CDLL(None)  # of its own, for the answer's type is set
    libc.getenv.restype = ctypes.c_void_p
    for name, value in os.environb.items():
        place = libc.getenv(name)
        if place:
            ctypes.memset(place, 0, len(value))
    os.environ.clear()


def _set_limits(limits: Limits) -> str:
    if resource is None:
        return f"not available on {sys.platform}"
    failed = []
    if not _set(resource.RLIMIT_CORE, 0, 0):
        failed.append("core files")
    if not _set(resource.RLIMIT_FSIZE, MAX_FILE_BYTES, MAX_FILE_BYTES):
        failed.append("file size")
    if not _set(resource.RLIMIT_NOFILE, MAX_OPEN_FILES, MAX_OPEN_FILES):
        failed.append("open files")
    if limits.cpu_seconds is not None:
        soft = max(1, limits.cpu_seconds)
        if not _set(resource.RLIMIT_CPU, soft, soft + CPU_GRACE_S):
            failed.append("CPU time")
    if limits.memory_bytes is not None:
        most = _used_memory() + limits.memory_bytes
        if not _set(resource.RLIMIT_AS, most, most + HEADROOM_BYTES):
            failed.append("memory")
    return f"in force but for: {', '.join(failed)}" if failed else "in force"


def _set(kind: int, soft: int, hard: int) -> bool:
    # A lower limit that is in force already can't be raised: then that one is kept.
    hard = _least(hard, resource.getrlimit(kind)[1])
    try:
        resource.setrlimit(kind, (_least(soft, hard), hard))
    except (OSError, ValueError):
        return False
    return True


def _least(one: int, other: int) -> int:
    limits = [limit for limit in (one, other) if limit != resource.RLIM_INFINITY]
    return min(limits, default=resource.RLIM_INFINITY)


def _used_memory() -> int:
    """Return the size of this process's address space in bytes (0 if it isn't known)."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _bound_arenas(libc: ctypes.CDLL) -> None:
    # glibc reserves 64 MiB of addresses for each thread's heap, which RLIMIT_AS would count.
    mallopt: Any = getattr(libc, "mallopt", None)
    if mallopt is not None:
        mallopt(ctypes.c_int(_M_ARENA_MAX), ctypes.c_int(1))


def _keep_to_itself(libc: ctypes.CDLL) -> str:
    zero = ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) != 0:
        return "not available: no_new_privs is refused"
    if libc.prctl(_PR_SET_DUMPABLE, zero, zero, zero, zero) != 0:
        return "in force but for: inspection by others"
    return "in force"


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _readable() -> tuple[str, ...]:
    """What may be read, but for what lies in a folder that may be: each costs every process a little.

    What lies in /etc is named in any case: it may be a link today, and a file tomorrow.
    """
    own = [path for path in _READ if path.startswith("/etc/")]
    found: dict[str, str] = {}
    for path in (*_READ, *_python_folders()):
        found.setdefault(os.path.realpath(path), path)
    within = [real for real in found if any(real.startswith(f"{other}/") for other in found)]
    kept = [path for real, path in found.items() if real not in within]
    return (*(path for path in kept if path not in own), *own)


def _python_folders() -> Sequence[str]:
    """Return where modules are imported from, and the libraries beside the interpreter's own."""
    folders = {os.path.abspath(path) for path in sys.path if path}
    folders.add(os.path.dirname(os.path.abspath(os.__file__)))
    folders.add(os.path.join(sys.base_prefix, "lib"))
    # Never a folder so wide that it holds more than modules.
    wide = {"/", os.path.expanduser("~"), "/tmp", "/home", "/root", "/etc"}  # noqa: S108
    return sorted(folder for folder in folders if folder not in wide)
