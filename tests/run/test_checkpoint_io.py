"""Checkpoints appear whole or not at all, damage is noticed, and the one before is there."""

import errno
import os
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from tests.conftest import REPOSITORY
from unet_exp.errors import UserError
from unet_exp.run import checkpoint_io
from unet_exp.run.checkpoint_io import DurableCheckpointIO, read_checkpoint, usable_checkpoint
from unet_exp.run.disk import remove_temporary_files


def content(number: int, size: int = 1000) -> dict:
    return {"state_dict": {"weight": torch.full((size,), number)}, "number": number}


@pytest.fixture
def last(tmp_path):
    """Two checkpoints have been written: 1, which is now the previous one, and 2."""
    path = tmp_path / "checkpoints" / "last.ckpt"
    plugin = DurableCheckpointIO()
    for number in (1, 2):
        plugin.save_checkpoint(content(number), path)
    return path


def flip_a_bit(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_torch_and_zip_read_it_as_ever(last):
    assert torch.load(last, weights_only=True)["number"] == 2
    assert torch.load(last, weights_only=True, mmap=True)["number"] == 2
    with zipfile.ZipFile(last) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"sha256:")


def test_the_previous_one_is_kept_and_nothing_else(last):
    assert read_checkpoint(last)["number"] == 2
    assert read_checkpoint(last.with_name("last-previous.ckpt"))["number"] == 1
    assert {path.name for path in last.parent.iterdir()} == {"last.ckpt", "last-previous.ckpt"}


def test_one_file_may_bear_two_names_and_is_never_changed_under_the_other(last):
    best = last.with_name("best.ckpt")
    plugin = DurableCheckpointIO()
    plugin.save_checkpoint(content(3), last, {"also": best})
    assert best.samefile(last)
    plugin.save_checkpoint(content(4), last)
    assert [read_checkpoint(path)["number"] for path in (best, last)] == [3, 4]
    assert len(list(last.parent.iterdir())) == 3


def test_it_works_without_hard_links(last, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    best = last.with_name("best.ckpt")
    DurableCheckpointIO().save_checkpoint(content(3), last, {"also": best})
    names = ("last", "last-previous", "best")
    assert [read_checkpoint(last.with_name(f"{name}.ckpt"))["number"] for name in names] == [3, 2, 3]
    assert len(list(last.parent.iterdir())) == 3


def test_a_kill_between_the_two_names_of_the_old_file_leaves_no_litter_later(last):
    previous = last.with_name("last-previous.ckpt")
    previous.unlink()
    previous.hardlink_to(last)  # killed after the old file got its second name, before the new one came
    DurableCheckpointIO().save_checkpoint(content(3), last)
    assert {path.name for path in last.parent.iterdir()} == {"last.ckpt", "last-previous.ckpt"}
    assert read_checkpoint(previous)["number"] == 2


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_flipped_bit_is_noticed(last, share):
    flip_a_bit(last, int(last.stat().st_size * share))
    with pytest.raises(UserError, match=r"last\.ckpt is damaged"):
        read_checkpoint(last)


def test_a_bit_flipped_where_torch_does_not_look_is_noticed_by_the_checksum(last):
    data = last.read_bytes()
    position = data.index(b"PK\x01\x02") + 12  # the time of the first entry
    flip_a_bit(last, position)
    assert torch.load(last, weights_only=True)["number"] == 2
    with pytest.raises(UserError, match="does not agree with its checksum"):
        read_checkpoint(last)


@pytest.mark.parametrize("length", [0, 100, 3000])
def test_a_short_file_is_noticed(last, length):
    last.write_bytes(last.read_bytes()[:length])
    with pytest.raises(UserError, match=r"last\.ckpt is damaged"):
        read_checkpoint(last)


def test_a_checkpoint_of_another_program_has_no_checksum_and_is_read(tmp_path):
    torch.save(content(5), tmp_path / "last.ckpt")
    assert usable_checkpoint(tmp_path / "last.ckpt")[1]["number"] == 5


def test_a_damaged_one_is_named_and_the_previous_used(last, capsys):
    flip_a_bit(last, 500)
    path, loaded = usable_checkpoint(last)
    assert (path.name, loaded["number"]) == ("last-previous.ckpt", 1)
    message = capsys.readouterr().err
    assert f"{last} is damaged" in message
    assert "last-previous.ckpt, the one before it, is used instead" in message


def test_a_missing_one_is_told_and_the_previous_used(last, capsys):
    last.unlink()
    assert usable_checkpoint(last)[1]["number"] == 1
    assert f"{last} is missing" in capsys.readouterr().err


def test_two_damaged_ones_give_one_message_that_names_both(last):
    for path in (last, last.with_name("last-previous.ckpt")):
        flip_a_bit(path, 500)
    with pytest.raises(UserError) as caught:
        usable_checkpoint(last)
    assert "last.ckpt is damaged" in str(caught.value)
    assert "last-previous.ckpt is damaged" in str(caught.value)


def test_a_damaged_one_does_not_take_the_place_of_the_good_one(last):
    """A run that was continued from the previous one still has it after its first write."""
    flip_a_bit(last, 500)
    plugin = DurableCheckpointIO()
    plugin.load_checkpoint(usable_checkpoint(last)[0])
    plugin.save_checkpoint(content(3), last)
    assert read_checkpoint(last.with_name("last-previous.ckpt"))["number"] == 1
    plugin.save_checkpoint(content(4), last)
    assert read_checkpoint(last.with_name("last-previous.ckpt"))["number"] == 3


class Pickled:
    def __reduce__(self):
        return os.system, ("true",)


def test_code_in_a_checkpoint_is_refused(tmp_path):
    torch.save({"state_dict": {}, "evil": Pickled()}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match="cannot be loaded"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    kept = {".hidden", "checkpoints", "last.ckpt", "name-abcdefgh"}
    for name in ("checkpoints/.last.ckpt-a1b2c3_d", ".history.csv-abcdefgh", ".hidden", "last.ckpt", "name-abcdefgh"):
        (tmp_path / name).write_text("")
    remove_temporary_files(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == kept


@contextmanager
def file_system(folder: Path, options: str):
    """A file system of its own, where this process may mount one."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("needs the permission to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 2 MB."""
    with file_system(tmp_path / "disk", "size=2m"):
        yield tmp_path / "disk"


def test_a_full_disk_is_told_and_what_was_there_is_intact(small_disk):
    last = small_disk / "last.ckpt"
    plugin = DurableCheckpointIO()
    plugin.save_checkpoint(content(1, 100_000), last)
    plugin.save_checkpoint(content(2, 100_000), last)
    with pytest.raises(UserError, match=r"disk is full, so last\.ckpt could not be written. What was saved before"):
        plugin.save_checkpoint(content(3, 100_000), last)
    assert {path.name for path in small_disk.iterdir()} == {"last.ckpt", "last-previous.ckpt"}
    assert read_checkpoint(last)["number"] == 2
    assert read_checkpoint(small_disk / "last-previous.ckpt")["number"] == 1


def test_a_disk_that_became_read_only_is_told(small_disk):
    last = small_disk / "last.ckpt"
    DurableCheckpointIO().save_checkpoint(content(1), last)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match=r"it cannot be written to \(Read-only file system\)"):
        DurableCheckpointIO().save_checkpoint(content(2), last)
    assert read_checkpoint(last)["number"] == 1


LIMITED = """
import resource, signal, sys
sys.path.insert(0, {repository!r})
from pathlib import Path
from tests.run.test_checkpoint_io import content
from unet_exp.run.checkpoint_io import DurableCheckpointIO
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
DurableCheckpointIO().save_checkpoint(content(3, 100_000), Path({path!r}))
"""


@pytest.mark.slow
def test_a_file_that_grows_too_large_is_told_and_what_was_there_is_intact(last):
    """The kernel refuses to let a file grow beyond a limit, as it does on a full disk or over quota."""
    code = LIMITED.format(repository=str(REPOSITORY), path=str(last))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "UserError: " in done.stderr
    assert "last.ckpt could not be written" in done.stderr
    assert {path.name for path in last.parent.iterdir()} == {"last.ckpt", "last-previous.ckpt"}
    assert [read_checkpoint(last)["number"]] == [2]


@pytest.mark.parametrize("moment", ["hardlink_to", "replace", "chmod"])
def test_a_failure_at_any_step_leaves_a_whole_checkpoint(last, monkeypatch, moment):
    def refuse(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, moment, refuse)
    if moment == "hardlink_to":
        monkeypatch.setattr(checkpoint_io.shutil, "copyfile", refuse)
    with pytest.raises(UserError, match=r"cannot be written to \(Input/output error\)"):
        DurableCheckpointIO().save_checkpoint(content(3), last)
    monkeypatch.undo()
    assert usable_checkpoint(last)[1]["number"] == 2
    assert not [path for path in last.parent.iterdir() if path.name.startswith(".")]
