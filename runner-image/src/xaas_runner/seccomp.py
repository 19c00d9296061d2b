"""The system calls that a step may make: a seccomp filter, by ctypes, without privileges.

A list of what is refused, not of what is allowed: a list of allowed calls breaks with every new
libc, and this is the third layer (after the language policy and Landlock), there to close what
those two can't see: new programs, other processes, odd sockets, the kernel's rarely used doors.
What is refused gets EPERM, so that a script sees an error and not a dead process.

Threads stay possible; new processes don't: `clone` needs CLONE_THREAD, and `clone3`, whose flags a
filter can't read, says ENOSYS, on which libc falls back to `clone`.
"""

import ctypes
import errno
import functools
import os
import struct
from enum import Enum
from typing import Final, NamedTuple


class Network(Enum):
    """Which sockets may be made."""

    NONE = "none"  # not even Unix sockets
    STREAMS = "streams"  # Unix sockets and TCP (look-ups then go by TCP: RES_OPTIONS=use-vc)
    INTERNET = "internet"  # UDP too: where the boundary is a container's network policy


class _Numbers(NamedTuple):
    """A system call's numbers; None where the architecture lacks it."""

    x86_64: int | None
    aarch64: int | None


def _both(number: int) -> _Numbers:
    return _Numbers(number, number)


# Facts from the kernel's headers (asm/unistd_64.h, asm-generic/unistd.h).
_REFUSED: Final[dict[str, _Numbers]] = {
    # other programs and processes
    "execve": _Numbers(59, 221),
    "execveat": _Numbers(322, 281),
    "fork": _Numbers(57, None),
    "vfork": _Numbers(58, None),
    "ptrace": _Numbers(101, 117),
    "process_vm_readv": _Numbers(310, 270),
    "process_vm_writev": _Numbers(311, 271),
    "process_madvise": _both(440),
    "kcmp": _Numbers(312, 272),
    "pidfd_open": _both(434),
    "pidfd_getfd": _both(438),
    "pidfd_send_signal": _both(424),
    "tkill": _Numbers(200, 130),
    "rt_sigqueueinfo": _Numbers(129, 138),
    "rt_tgsigqueueinfo": _Numbers(297, 240),
    "move_pages": _Numbers(279, 239),
    "migrate_pages": _Numbers(256, 238),
    # namespaces and mounts
    "unshare": _Numbers(272, 97),
    "setns": _Numbers(308, 268),
    "mount": _Numbers(165, 40),
    "umount2": _Numbers(166, 39),
    "pivot_root": _Numbers(155, 41),
    "chroot": _Numbers(161, 51),
    "open_tree": _both(428),
    "move_mount": _both(429),
    "fsopen": _both(430),
    "fsconfig": _both(431),
    "fsmount": _both(432),
    "fspick": _both(433),
    "mount_setattr": _both(442),
    "open_tree_attr": _both(467),
    # files beside the paths that Landlock sees: handles, devices, owners, modes, attributes
    "name_to_handle_at": _Numbers(303, 264),
    "open_by_handle_at": _Numbers(304, 265),
    "fanotify_init": _Numbers(300, 262),
    "mknod": _Numbers(133, None),
    "mknodat": _Numbers(259, 33),
    "chmod": _Numbers(90, None),
    "fchmod": _Numbers(91, 52),
    "fchmodat": _Numbers(268, 53),
    "fchmodat2": _both(452),
    "chown": _Numbers(92, None),
    "lchown": _Numbers(94, None),
    "fchown": _Numbers(93, 55),
    "fchownat": _Numbers(260, 54),
    "utime": _Numbers(132, None),
    "utimes": _Numbers(235, None),
    "futimesat": _Numbers(261, None),
    "utimensat": _Numbers(280, 88),
    "setxattr": _Numbers(188, 5),
    "lsetxattr": _Numbers(189, 6),
    "fsetxattr": _Numbers(190, 7),
    "setxattrat": _both(463),
    "removexattr": _Numbers(197, 14),
    "lremovexattr": _Numbers(198, 15),
    "fremovexattr": _Numbers(199, 16),
    "removexattrat": _both(466),
    "quotactl": _Numbers(179, 60),
    "quotactl_fd": _both(443),
    "swapon": _Numbers(167, 224),
    "swapoff": _Numbers(168, 225),
    "acct": _Numbers(163, 89),
    # the kernel itself
    "init_module": _Numbers(175, 105),
    "finit_module": _Numbers(313, 273),
    "delete_module": _Numbers(176, 106),
    "kexec_load": _Numbers(246, 104),
    "kexec_file_load": _Numbers(320, 294),
    "reboot": _Numbers(169, 142),
    "bpf": _Numbers(321, 280),
    "perf_event_open": _Numbers(298, 241),
    "userfaultfd": _Numbers(323, 282),
    "io_uring_setup": _both(425),
    "io_uring_enter": _both(426),
    "io_uring_register": _both(427),
    "memfd_secret": _both(447),
    "add_key": _Numbers(248, 217),
    "request_key": _Numbers(249, 218),
    "keyctl": _Numbers(250, 219),
    "syslog": _Numbers(103, 116),
    "personality": _Numbers(135, 92),
    "iopl": _Numbers(172, None),
    "ioperm": _Numbers(173, None),
    "modify_ldt": _Numbers(154, None),
    "uselib": _Numbers(134, None),
    "lookup_dcookie": _Numbers(212, 18),
    "vhangup": _Numbers(153, 58),
    "settimeofday": _Numbers(164, 170),
    "clock_settime": _Numbers(227, 112),
    "clock_adjtime": _Numbers(305, 266),
    "adjtimex": _Numbers(159, 171),
    "sethostname": _Numbers(170, 161),
    "setdomainname": _Numbers(171, 162),
    # memory and queues shared with other processes
    "shmget": _Numbers(29, 194),
    "shmat": _Numbers(30, 196),
    "shmctl": _Numbers(31, 195),
    "msgget": _Numbers(68, 186),
    "msgctl": _Numbers(71, 187),
    "semget": _Numbers(64, 190),
    "semctl": _Numbers(66, 191),
    "mq_open": _Numbers(240, 180),
    "mq_unlink": _Numbers(241, 181),
}
_CLONE: Final = _Numbers(56, 220)
_CLONE3: Final = _both(435)
_SOCKET: Final = _Numbers(41, 198)
_SOCKETPAIR: Final = _Numbers(53, 199)
# Calls that take a process id first: our own only.
_OWN_PROCESS: Final = (_Numbers(62, 129), _Numbers(234, 131))  # kill, tgkill
_PRLIMIT64: Final = _Numbers(302, 261)

_AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT: Final = 0x40000000

_LOAD, _AND = 0x20, 0x54  # BPF_LD|W|ABS, BPF_ALU|AND|K
_EQUAL, _AT_LEAST = 0x15, 0x35  # BPF_JMP|JEQ|K, BPF_JMP|JGE|K
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_REFUSE: Final = 0x00050000 | errno.EPERM
_NO_SUCH_CALL: Final = 0x00050000 | errno.ENOSYS
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_CLONE_THREAD: Final = 0x00010000
_TYPE_MASK: Final = 0xF  # without SOCK_NONBLOCK and SOCK_CLOEXEC
_ANY_PID: Final = 0xA5C3E197  # no pid, no number of a call, no flag
_UNIX, _INET, _INET6 = 1, 2, 10
_STREAM, _DGRAM = 1, 2

_PR_SET_SECCOMP: Final = 22
_MODE_FILTER: Final = 2


class Unavailable(OSError):
    """This machine's kernel or architecture has no such filter."""


class _Program:
    """Instructions of a classic BPF program, as the kernel wants them.

    Every block of ours begins with the system call's number loaded and ends in a return or
    leaves by a jump over its own end.
    """

    def __init__(self) -> None:
        self.code = bytearray()

    def add(self, code: int, value: int, if_true: int = 0, if_false: int = 0) -> None:
        self.code += struct.pack("=HBBI", code, if_true, if_false, value)

    def on(self, number: int, answer: int) -> None:
        """Answer this call so, whatever its arguments."""
        self.add(_EQUAL, number, 0, 1)
        self.add(_RETURN, answer)

    def block(self, number: int, body: "_Program") -> None:
        """Judge this call by `body`, which always returns."""
        self.add(_EQUAL, number, 0, len(body))
        self.code += body.code

    def load_argument(self, index: int) -> None:
        self.add(_LOAD, _ARGUMENTS_AT + 8 * index)

    def __len__(self) -> int:
        return len(self.code) // 8


def _any_of(argument: int, values: tuple[int, ...]) -> _Program:
    """Allow if the argument is one of the values."""
    body = _Program()
    body.load_argument(argument)
    for value in values:
        body.on(value, _ALLOW)
    body.add(_RETURN, _REFUSE)
    return body


def _threads_only() -> _Program:
    body = _Program()
    body.load_argument(0)
    body.add(_AND, _CLONE_THREAD)
    body.on(_CLONE_THREAD, _ALLOW)
    body.add(_RETURN, _REFUSE)
    return body


def _sockets(network: Network) -> _Program:
    body = _Program()
    if network is Network.NONE:
        body.add(_RETURN, _REFUSE)
        return body
    types = (_STREAM,) if network is Network.STREAMS else (_STREAM, _DGRAM)
    inet = _Program()
    inet.load_argument(2)
    for protocol in (0, 6, 17):  # by default, TCP, UDP: no MPTCP, no SCTP, nothing raw
        inet.add(_EQUAL, protocol, 2 - (0, 6, 17).index(protocol) + 1, 0)
    inet.add(_RETURN, _REFUSE)
    inet.load_argument(1)
    inet.add(_AND, _TYPE_MASK)
    for kind in types:
        inet.on(kind, _ALLOW)
    inet.add(_RETURN, _REFUSE)
    body.load_argument(0)
    body.on(_UNIX, _ALLOW)
    body.add(_EQUAL, _INET, 1, 0)
    body.add(_EQUAL, _INET6, 0, len(inet))
    body.code += inet.code
    body.add(_RETURN, _REFUSE)
    return body


def program(machine: str, pid: int, network: Network) -> bytes:
    """Return the filter for process `pid` on `machine` (as `os.uname().machine` says it).

    Raises Unavailable for another machine than x86_64 and aarch64.
    """
    return template(machine, network).replace(_packed(_ANY_PID), _packed(pid))


def _packed(value: int) -> bytes:
    return struct.pack("=I", value)


@functools.cache
def template(machine: str, network: Network) -> bytes:
    """Return the filter but for the process's pid, for which _ANY_PID stands.

    Built once: what is forked from a process that has built it has it, too. Raises Unavailable.
    """
    if machine not in _AUDIT_ARCH:
        raise Unavailable(errno.ENOSYS, f"no list of system calls for {machine}")

    def number(numbers: _Numbers) -> int | None:
        return numbers.x86_64 if machine == "x86_64" else numbers.aarch64

    result = _Program()
    result.add(_LOAD, _ARCH_AT)
    result.add(_EQUAL, _AUDIT_ARCH[machine], 1, 0)
    result.add(_RETURN, _KILL)  # calls of another architecture have other numbers
    result.add(_LOAD, _NUMBER_AT)
    if machine == "x86_64":
        result.add(_AT_LEAST, _X32_BIT, 0, 1)
        result.add(_RETURN, _NO_SUCH_CALL)
    for numbers in _REFUSED.values():
        if (refused := number(numbers)) is not None:
            result.on(refused, _REFUSE)
    result.on(number(_CLONE3) or 0, _NO_SUCH_CALL)
    if network is Network.NONE:
        result.on(number(_SOCKETPAIR) or 0, _REFUSE)
    result.block(number(_CLONE) or 0, _threads_only())
    result.block(number(_SOCKET) or 0, _sockets(network))
    for numbers in _OWN_PROCESS:
        result.block(number(numbers) or 0, _any_of(0, (_ANY_PID,)))
    result.block(number(_PRLIMIT64) or 0, _any_of(0, (0, _ANY_PID)))
    result.add(_RETURN, _ALLOW)
    return bytes(result.code)


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(libc: ctypes.CDLL, network: Network) -> None:
    """Put the filter on this thread and all it starts. no_new_privs must be set.

    Raises Unavailable where it can't be.
    """
    code = program(os.uname().machine, os.getpid(), network)
    buffer = ctypes.create_string_buffer(code, len(code))
    description = _FilterProgram(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    answer = libc.prctl(
        _PR_SET_SECCOMP,
        ctypes.c_ulong(_MODE_FILTER),
        ctypes.byref(description),
        ctypes.c_ulong(0),
        ctypes.c_ulong(0),
    )
    if answer != 0:
        number = ctypes.get_errno()
        raise Unavailable(number, f"the kernel refuses a filter: {os.strerror(number)}")
