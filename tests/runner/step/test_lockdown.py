"""The operating system's layers, tried from inside by plain Python: no policy in between."""

import ast
import ctypes
import errno
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import xaas_runner

SOURCE = str(Path(xaas_runner.__file__).parent.parent)
NOBODY = 65534

PROBE = """
import ctypes, json, os, resource, signal, socket, sys, threading
sys.path.insert(0, sys.argv[1])
from xaas_runner import lockdown
from xaas_runner.seccomp import Network
given = json.loads(sys.argv[2])
if given["uid"] is not None:
    # The interpreter itself may lie in a folder that is closed to that user.
    import asyncio, encodings.idna, wave
    os.setgroups([]); os.setgid(given["uid"]); os.setuid(given["uid"])
os.environ.clear()
lockdown.prepare_resolver()
limits = lockdown.Limits(given["memory"], given["cpu"])
report = lockdown.lock_down(limits, scratch=given["scratch"], network=Network(given["network"]))
libc = ctypes.CDLL(None, use_errno=True)
told = {"report": report}

def attempt(name):
    def take(act):
        try:
            told[name] = ["done", repr(act())[:200]]
        except OSError as error:
            told[name] = ["refused", error.errno or str(error)]
        except BaseException as error:
            told[name] = ["raised", type(error).__name__]
    return take

def raw(number, *arguments):
    if libc.syscall(ctypes.c_long(number), *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")

def thread():
    done = []
    work = threading.Thread(target=lambda: done.append(1))
    work.start(); work.join()
    return done

def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(5)
        s.connect(address)
        return s.recv(2)

def listen():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()

def write(path):
    with open(path, "w") as file:
        file.write("x")
    return open(path).read()

def allocate():
    block = bytearray(given["memory"] * 2)
    return len(block)

scratch = given["scratch"]
attempt("passwd")(lambda: open("/etc/passwd").read())
attempt("tmp")(lambda: os.listdir("/tmp"))
attempt("source")(lambda: os.listdir(given["private"]))
attempt("proc parent")(lambda: open(f"/proc/{os.getppid()}/environ").read())
attempt("proc 1")(lambda: open("/proc/1/environ").read())
attempt("proc self")(lambda: open("/proc/self/environ").read())
attempt("write outside")(lambda: write(given["private"] + "/new"))
attempt("overwrite outside")(lambda: write(given["private"] + "/mine"))
attempt("unlink outside")(lambda: os.unlink(given["private"] + "/mine"))
attempt("chmod outside")(lambda: os.chmod(given["private"] + "/mine", 0o777))
attempt("truncate outside")(lambda: os.truncate(given["private"] + "/mine", 0))
attempt("write scratch")(lambda: write(scratch + "/new"))
attempt("unlink scratch")(lambda: os.unlink(scratch + "/new"))
attempt("symlink scratch")(lambda: os.symlink("/etc/passwd", scratch + "/link"))
attempt("big file")(lambda: os.posix_fallocate(os.open(scratch + "/big", 66), 0, 1 << 30))
attempt("stdlib")(lambda: __import__("wave").__name__)
attempt("hosts")(lambda: open("/etc/hosts").read(1))
attempt("execve")(lambda: os.execv("/bin/true", ["true"]))
attempt("fork")(lambda: os.fork() or os._exit(0))
attempt("vfork")(lambda: raw(58 if sys.argv[3] == "x86_64" else 220, 17))
attempt("clone3")(lambda: raw(435, None, 0))
attempt("spawn")(lambda: os.posix_spawn("/bin/true", ["true"], {}))
attempt("thread")(thread)
attempt("kill parent")(lambda: os.kill(os.getppid(), 0))
attempt("kill group")(lambda: os.kill(0, 0))
attempt("kill all")(lambda: os.kill(-1, 0))
attempt("kill self")(lambda: os.kill(os.getpid(), 0))
attempt("prlimit parent")(lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE))
attempt("prlimit self")(lambda: resource.prlimit(0, resource.RLIMIT_NOFILE))
attempt("ptrace")(lambda: raw(101 if sys.argv[3] == "x86_64" else 117, 16, os.getppid(), 0, 0))
attempt("unshare")(lambda: raw(272 if sys.argv[3] == "x86_64" else 97, 0x10000000))
attempt("mount")(lambda: raw(165 if sys.argv[3] == "x86_64" else 40, b"a", b"/", b"b", 0, None))
attempt("io_uring")(lambda: raw(425, 1, None))
attempt("bpf")(lambda: raw(321 if sys.argv[3] == "x86_64" else 280, 0, None, 0))
attempt("pidfd")(lambda: os.pidfd_open(os.getppid()))
attempt("raise limits")(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (9999, 9999)))
attempt("udp")(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close())
attempt("udp6")(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | 0x800).close())
attempt("raw")(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close())
attempt("mptcp")(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262).close())
attempt("netlink")(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close())
attempt("packet")(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
attempt("vsock")(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close())
attempt("socketpair")(lambda: socket.socketpair()[0].close())
attempt("tcp")(lambda: connect(socket.AF_INET, ("127.0.0.1", given["port"])))
attempt("unix")(lambda: connect(socket.AF_UNIX, given["socket"]))
attempt("abstract")(lambda: connect(socket.AF_UNIX, given["abstract"]))
attempt("listen")(listen)
attempt("localhost")(lambda: socket.getaddrinfo("localhost", 80))
attempt("asyncio")(lambda: __import__("asyncio").run(__import__("asyncio").sleep(0, "slept")))
attempt("dumpable")(lambda: libc.prctl(3, 0, 0, 0, 0))
attempt("no_new_privs")(lambda: libc.prctl(39, 0, 0, 0, 0))
if given["memory"]:
    attempt("memory")(allocate)
    lockdown.release_headroom()
told["environment"] = dict(os.environ)
print(json.dumps(told))
"""


class Peer:
    """Something to connect to: on TCP, on a path, on an abstract name."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "peer.sock")
        self.abstract = f"\0xaas-test-{os.getpid()}-{folder.name}"
        self.sockets = [socket.socket(), socket.socket(socket.AF_UNIX)]
        self.sockets[0].bind(("127.0.0.1", 0))
        self.sockets[1].bind(self.path)
        os.chmod(self.path, 0o666)  # noqa: PTH101
        if sys.platform == "linux":
            self.sockets.append(socket.socket(socket.AF_UNIX))
            self.sockets[2].bind(self.abstract)
        self.port = self.sockets[0].getsockname()[1]
        for listener in self.sockets:
            listener.listen()
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            with stream:
                stream.sendall(b"hi")

    def close(self) -> None:
        for listener in self.sockets:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


def probe(folder: Path, **more: Any) -> dict[str, Any]:
    private, scratch = folder / "private", folder / "scratch"
    for path in (folder, private, scratch):
        path.mkdir(exist_ok=True)
        path.chmod(0o777)
    (private / "mine").write_text("mine")
    (private / "mine").chmod(0o666)
    peer = Peer(folder)
    given = {
        "uid": None,
        "network": "streams",
        "memory": 64 * 1024 * 1024,
        "cpu": 20,
        "private": str(private),
        "scratch": str(scratch),
        "port": peer.port,
        "socket": peer.path,
        "abstract": peer.abstract,
        **more,
    }
    try:
        run = subprocess.run(
            [
                *(sys.executable, "-I", "-S", "-c", PROBE),
                *(SOURCE, json.dumps(given), platform.machine()),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={"SECRET_OF_THE_SERVER": "x"},
        )
    finally:
        peer.close()
    assert run.returncode == 0, run.stderr
    told: dict[str, Any] = json.loads(run.stdout)
    told["mine"] = (private / "mine").read_text()
    return told


@pytest.fixture(scope="module", params=["as it is", "nobody"])
def inside(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    uid = None
    if request.param == "nobody":
        if os.getuid() != 0:
            pytest.skip("only root can become nobody")
        uid = NOBODY
    with tempfile.TemporaryDirectory(prefix="lock-") as folder:
        yield probe(Path(folder), uid=uid)


needs_landlock = pytest.mark.skipif(
    sys.platform != "linux"
    or ctypes.CDLL(None).syscall(ctypes.c_long(444), None, ctypes.c_size_t(0), 1) < 1,
    reason="the kernel has no Landlock",
)
needs_seccomp = pytest.mark.skipif(
    not Path("/proc/sys/kernel/seccomp").exists()
    or platform.machine() not in ("x86_64", "aarch64"),
    reason="the kernel has no seccomp, or its calls aren't listed",
)


@needs_landlock
@needs_seccomp
def test_the_report_says_what_is_in_force(inside: dict[str, Any]) -> None:
    report = inside["report"]
    assert sorted(report) == ["calls", "files", "itself", "limits"]
    assert all(text.startswith("in force") for text in report.values()), report
    assert "but for" not in report["limits"]


@needs_landlock
@pytest.mark.parametrize(
    "name",
    [
        *("passwd", "tmp", "source", "proc parent", "proc 1", "proc self"),
        *("write outside", "overwrite outside", "unlink outside", "truncate outside"),
        *("symlink scratch", "listen"),
    ],
)
def test_files_that_are_out_of_reach(inside: dict[str, Any], name: str) -> None:
    kind, why = inside[name]
    assert kind == "refused", inside[name]
    assert why in (errno.EACCES, errno.EPERM, errno.ENOENT)
    assert inside["mine"] == "mine"


@needs_seccomp
@pytest.mark.parametrize(
    "name",
    [
        *("execve", "fork", "vfork", "spawn", "ptrace", "unshare", "mount", "io_uring", "bpf"),
        *("pidfd", "kill parent", "kill group", "kill all", "prlimit parent", "chmod outside"),
        *("udp", "udp6", "raw", "mptcp", "netlink", "packet", "vsock"),
    ],
)
def test_calls_that_are_refused(inside: dict[str, Any], name: str) -> None:
    assert inside[name] == ["refused", errno.EPERM]


@needs_seccomp
def test_clone3_is_unknown_so_that_libc_uses_clone(inside: dict[str, Any]) -> None:
    assert inside["clone3"] == ["refused", errno.ENOSYS]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("write scratch", "'x'"),
        ("unlink scratch", "None"),
        ("stdlib", "'wave'"),
        ("thread", "[1]"),
        ("kill self", "None"),
        ("socketpair", "None"),
        ("tcp", "b'hi'"),
        ("unix", "b'hi'"),
        ("asyncio", "'slept'"),
        ("dumpable", "0"),
        ("no_new_privs", "1"),
    ],
)
def test_what_a_step_needs_works(inside: dict[str, Any], name: str, value: str) -> None:
    assert inside[name] == ["done", value]


@pytest.mark.parametrize("name", ["hosts", "prlimit self", "localhost"])
def test_what_libraries_need_works(inside: dict[str, Any], name: str) -> None:
    assert inside[name][0] == "done", inside[name]


@needs_landlock
def test_abstract_sockets_are_outside(inside: dict[str, Any]) -> None:
    if int(inside["report"]["files"].rpartition(" ")[2]) < 6:
        pytest.skip("this kernel's Landlock has no scopes")
    assert inside["abstract"] == ["refused", errno.EPERM]


def test_limits(inside: dict[str, Any]) -> None:
    assert inside["memory"] == ["raised", "MemoryError"]
    assert inside["big file"][0] == "refused"
    if os.getuid() != 0 or inside["raise limits"][0] == "raised":
        assert inside["raise limits"] == ["raised", "ValueError"]


def test_the_environment_is_empty(inside: dict[str, Any]) -> None:
    assert inside["environment"] == {"RES_OPTIONS": "use-vc"}


@needs_seccomp
@needs_landlock
def test_without_a_network_there_are_no_sockets_at_all(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="lock-") as folder:
        told = probe(Path(folder), network="none", memory=None)
    for name in ("tcp", "unix", "abstract", "udp", "socketpair", "listen"):
        assert told[name] == ["refused", errno.EPERM], name
    assert told["asyncio"][0] != "done"
    assert told["thread"] == ["done", "[1]"]


@needs_seccomp
def test_in_a_container_udp_is_allowed_and_nothing_raw(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="lock-") as folder:
        told = probe(Path(folder), network="internet", memory=None)
    for name in ("tcp", "unix", "udp", "udp6"):
        assert told[name][0] == "done", (name, told[name])
    for name in ("raw", "netlink", "packet", "vsock"):
        assert told[name] == ["refused", errno.EPERM], name


def run_here(code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys\nsys.path.insert(0, {SOURCE!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.parametrize(
    ("system", "missing"),
    [
        ("sys.platform = 'darwin'", "not available on darwin"),
        # A kernel without these calls says ENOSYS.
        ("landlock._CREATE_RULESET = 9999; seccomp._MODE_FILTER = 77", "not available: "),
        ("os.uname = lambda: type('u', (), {'machine': 'riscv64'})", "system calls for riscv64"),
    ],
)
def test_a_machine_that_lacks_a_layer_is_no_error(system: str, missing: str) -> None:
    out = run_here(
        "import os, sys\n"
        "from xaas_runner import landlock, lockdown, seccomp\n"
        f"{system}\n"
        "print(lockdown.lock_down(lockdown.Limits(1 << 30, 5)))\n"
        "assert lockdown.report()['limits'] == 'in force'\n"
        "open('/etc/hosts').close()\n"
    )
    assert missing in out


def test_limits_that_are_lower_already_are_kept() -> None:
    run_here(
        "import resource as r\n"
        "from xaas_runner import lockdown\n"
        "r.setrlimit(r.RLIMIT_NOFILE, (64, 100)); r.setrlimit(r.RLIMIT_CPU, (2, 3))\n"
        "assert lockdown.lock_down(lockdown.Limits(None, 9))['limits'] == 'in force'\n"
        "assert r.getrlimit(r.RLIMIT_NOFILE) == (100, 100), r.getrlimit(r.RLIMIT_NOFILE)\n"
        "assert r.getrlimit(r.RLIMIT_CPU) == (3, 3), r.getrlimit(r.RLIMIT_CPU)\n"
        "lockdown.release_headroom()\n"
        "assert r.getrlimit(r.RLIMIT_AS)[1] == r.RLIM_INFINITY\n"
    )


def test_nothing_was_asked_for() -> None:
    out = run_here("from xaas_runner import lockdown; print(lockdown.report())")
    assert out.count("not asked for") == 4


def test_what_lies_in_a_readable_folder_is_not_named_again(tmp_path: Path) -> None:
    within = tmp_path / "modules" / "more"
    within.mkdir(parents=True)
    (tmp_path / "link").symlink_to(within)
    (tmp_path / "modules-of-others").mkdir()
    named = ["modules/more", "modules", "link", "modules-of-others"]
    paths = [str(tmp_path / name) for name in named]
    told = run_here(
        f"sys.path[:0] = {paths!r}\n"
        "from xaas_runner import lockdown\n"
        "lockdown.prepare()\n"
        f"print([path for path in lockdown._readable() if path in {paths!r}])"
    )
    assert ast.literal_eval(told) == [paths[1], paths[3]]


def test_what_lies_in_etc_is_named_wherever_it_leads_today(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").touch()
    told = run_here(
        "import os\n"
        "from xaas_runner import lockdown\n"
        "real = os.path.realpath\n"
        f"os.path.realpath = lambda path: {str(tmp_path / 'resolv.conf')!r}"
        " if path == '/etc/resolv.conf' else real(path)\n"
        f"sys.path.append({str(tmp_path)!r})\n"
        "lockdown.prepare()\n"
        "print('/etc/resolv.conf' in lockdown._readable())"
    )
    assert told == "True\n"
