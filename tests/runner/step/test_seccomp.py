"""The filter of system calls, interpreted here: also for the machine that this one isn't."""

import struct

import pytest

from xaas_runner import seccomp
from xaas_runner.seccomp import Network


def interpret(code: bytes, number: int, arguments: tuple[int, ...], arch: int) -> int:
    """Run a filter as the kernel would; return its answer."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *(arguments + (0,) * 6)[:6])
    value, at = 0, 0
    while True:
        op, if_true, if_false, k = struct.unpack_from("=HBBI", code, at * 8)
        at += 1
        if op == 0x20:
            (value,) = struct.unpack_from("=I", data, k)
        elif op == 0x54:
            value &= k
        elif op == 0x15:
            at += if_true if value == k else if_false
        elif op == 0x35:
            at += if_true if value >= k else if_false
        else:
            assert op == 0x06
            return int(k)


ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x50001, 0x50026, 0x80000000
ARM, X86 = 0xC00000B7, 0xC000003E


@pytest.mark.parametrize(
    ("machine", "arch", "number", "arguments", "answer"),
    [
        ("aarch64", ARM, 221, (), EPERM),  # execve
        ("aarch64", ARM, 64, (), ALLOW),  # write
        ("aarch64", ARM, 220, (0x3D0F00,), ALLOW),  # clone, a thread
        ("aarch64", ARM, 220, (17,), EPERM),  # clone, a process
        ("aarch64", ARM, 435, (), ENOSYS),
        ("aarch64", ARM, 198, (2, 0x80001, 6), ALLOW),  # socket, TCP
        ("aarch64", ARM, 198, (2, 2, 17), EPERM),  # socket, UDP
        ("aarch64", ARM, 129, (42, 9), ALLOW),  # kill, ourselves
        ("aarch64", ARM, 129, (1, 9), EPERM),
        ("aarch64", X86, 64, (), KILL),
        ("x86_64", X86, 59, (), EPERM),
        ("x86_64", X86, 1, (), ALLOW),
        ("x86_64", X86, 0x40000000 + 1, (), ENOSYS),  # x32
        ("x86_64", X86, 41, (10, 1, 0), ALLOW),
        ("x86_64", X86, 41, (1, 2, 0), ALLOW),
        ("x86_64", X86, 41, (10, 1, 262), EPERM),
        ("x86_64", X86, 41, (16, 3, 0), EPERM),
        ("x86_64", X86, 62, (2**32 - 1, 9), EPERM),  # kill everybody
        ("x86_64", X86, 302, (0,), ALLOW),
        ("x86_64", X86, 302, (7,), EPERM),
        ("x86_64", 0x40000003, 1, (), KILL),  # i386
    ],
)
def test_the_filter_on_both_architectures(
    machine: str, arch: int, number: int, arguments: tuple[int, ...], answer: int
) -> None:
    code = seccomp.program(machine, 42, Network.STREAMS)
    assert interpret(code, number, arguments, arch) == answer


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("network", Network)
def test_each_process_gets_a_filter_of_its_own_from_one_template(
    machine: str, network: Network
) -> None:
    mine, other = (seccomp.program(machine, pid, network) for pid in (42, 0x12345678))
    template = seccomp.template(machine, network)
    assert seccomp.template(machine, network) is template
    assert len(mine) == len(other) == len(template)
    differing = [n for n in range(0, len(mine), 8) if mine[n : n + 8] != other[n : n + 8]]
    assert len(differing) == 3, "kill, tgkill and prlimit64"
    assert all(struct.unpack_from("=I", mine, n + 4) == (42,) for n in differing)
