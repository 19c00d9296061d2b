"""The data directory, its lock, its key."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from xaas_local.data import DataDir, DataDirError

HOLDER = """
import sys
from pathlib import Path
from xaas_local.data import DataDir
data = DataDir.open(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_its_owner_alone(folder: Path) -> None:
    data = DataDir.open(folder / "a" / "data")
    assert mode(data.path) == 0o700
    assert mode(data.path / "key") == mode(data.path / "lock") == 0o600
    for path in (data.runners, data.logs, data.scratch, data.secrets):
        assert mode(path) == 0o700
    data.close()


def test_the_key_stays(folder: Path) -> None:
    first = DataDir.open(folder / "data")
    first.close()
    second = DataDir.open(folder / "data")
    assert second.key == first.key
    assert len(second.key) == 32
    second.close()
    other = DataDir.open(folder / "other")
    assert other.key != first.key
    other.close()


def test_a_damaged_key_is_refused(folder: Path) -> None:
    DataDir.open(folder / "data").close()
    (folder / "data" / "key").write_bytes(b"short")
    for _ in range(2):  # and the lock isn't held by the one that failed
        with pytest.raises(DataDirError, match=r"key.*damaged"):
            DataDir.open(folder / "data")


def test_a_second_server_is_kept_out(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder / "data"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(DataDirError, match=f"pid {holder.pid}"):
            DataDir.open(folder / "data")
        holder.kill()
    DataDir.open(folder / "data").close()


def test_a_folder_that_others_use_is_left_alone(folder: Path) -> None:
    (folder / "file").touch()
    folder.chmod(0o755)
    with pytest.raises(DataDirError, match="chmod 700"):
        DataDir.open(folder)
    assert mode(folder) == 0o755
    assert list(folder.iterdir()) == [folder / "file"]


def test_an_empty_or_our_own_folder_is_closed_to_others(folder: Path) -> None:
    for _ in range(2):
        folder.chmod(0o755)
        DataDir.open(folder).close()
        assert mode(folder) == 0o700


def test_a_file_is_no_directory(folder: Path) -> None:
    (folder / "data").touch()
    with pytest.raises(DataDirError, match="no directory"):
        DataDir.open(folder / "data")
    with pytest.raises(DataDirError, match="can't be used"):
        DataDir.open(folder / "data" / "below")


def test_a_path_too_long_for_a_socket_is_refused(folder: Path) -> None:
    with pytest.raises(DataDirError, match="too long"):
        DataDir.open(folder / ("x" * 100))


def test_orphaned_scratch_is_removed(folder: Path) -> None:
    data = DataDir.open(folder)
    for name in ("kept", "gone"):
        (data.scratch / name).mkdir()
        (data.scratch / name / "file").touch()
    data.clean_scratch({"kept"})
    assert list(data.scratch.iterdir()) == [data.scratch / "kept"]
    data.close()
