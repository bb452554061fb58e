"""The lock of a folder: one holder, which may be a child, and no trace of a dead one."""

import signal
import subprocess
import sys

import pytest

from unet_exp.errors import UserError
from unet_exp.run.lock import FolderLock, alone_in


def test_it_is_taken_once_and_leaves_nothing(tmp_path):
    lock = FolderLock.acquire(tmp_path)
    assert FolderLock.acquire(tmp_path) is None
    lock.release()
    lock.release()
    assert not list(tmp_path.iterdir())
    again = FolderLock.acquire(tmp_path)
    assert again is not None
    again.release()


def test_a_child_holds_it_after_its_parent_was_killed(tmp_path):
    code = (
        "import os, subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from unet_exp.run.lock import FolderLock\n"
        "lock = FolderLock.acquire(Path(sys.argv[1]))\n"
        "child = subprocess.Popen(['sleep', '60'], pass_fds=[lock.descriptor], stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    assert FolderLock.acquire(tmp_path) is None
    subprocess.run(["kill", f"-{int(signal.SIGKILL)}", str(child)], check=True)
    for _ in range(200):
        lock = FolderLock.acquire(tmp_path)
        if lock:
            break
        subprocess.run(["sleep", "0.05"], check=True)
    assert lock is not None
    lock.release()


def test_a_lock_file_removed_by_its_holder_is_not_mistaken_for_a_lock(tmp_path, monkeypatch):
    """Between opening and locking the file, its holder removes it: who locks then must look again."""
    import fcntl

    holder = FolderLock.acquire(tmp_path)
    flock = fcntl.flock

    def late(descriptor, operation):
        if holder.descriptor >= 0:
            holder.release()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    lock = FolderLock.acquire(tmp_path)
    assert lock is not None
    assert (tmp_path / ".lock").exists()
    assert FolderLock.acquire(tmp_path) is None
    lock.release()


def test_many_processes_are_never_inside_together(tmp_path):
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from unet_exp.run.lock import FolderLock\n"
        "folder = Path(sys.argv[1]); done = 0\n"
        "while done < 100:\n"
        "    lock = FolderLock.acquire(folder)\n"
        "    if lock is None: continue\n"
        "    inside = folder / 'inside'\n"
        "    inside.touch(exist_ok=False)\n"
        "    inside.unlink(); done += 1\n"
        "    lock.release()\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(3)]
    assert [worker.communicate()[1] for worker in workers] == [b"", b"", b""]


def test_a_second_training_in_the_folder_is_refused(tmp_path):
    with alone_in(tmp_path), pytest.raises(UserError, match="is in use by another training"), alone_in(tmp_path):
        pass
    with alone_in(tmp_path):
        pass


def test_without_locks_a_single_training_goes_on(tmp_path, monkeypatch):
    import errno
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with alone_in(tmp_path):
        pass
    with pytest.raises(UserError, match="on a file system with locks"):
        FolderLock.acquire(tmp_path)


def test_a_folder_that_cannot_be_written_is_explained(tmp_path):
    with pytest.raises(UserError, match="Cannot lock"):
        FolderLock.acquire(tmp_path / "missing")
