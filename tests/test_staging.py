"""Results appear together or not at all."""

import os

import pytest

from unet_exp.errors import UserError
from unet_exp.staging import require_writable, staged


def write(folder, text):
    (folder / "figures").mkdir()
    (folder / "figures" / "curve.png").write_text(text)
    (folder / "metrics.json").write_text(text)


def _write_half(target):
    with staged(target) as folder:
        write(folder, "new")
        raise ZeroDivisionError


def test_new_results_replace_old_ones_and_leave_the_rest(tmp_path):
    target = tmp_path / "a" / "b"
    with staged(target) as folder:
        write(folder, "old")
        (folder / "figures" / "gone.png").write_text("old")
        assert not (target / "metrics.json").exists()
    (target / "notes.txt").write_text("mine")
    with staged(target) as folder:
        write(folder, "new")
        assert (target / "metrics.json").read_text() == "old"
    assert sorted(p.name for p in target.iterdir()) == ["figures", "metrics.json", "notes.txt"]
    assert [p.read_text() for p in (target / "figures").iterdir()] == ["new"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_failure_leaves_everything_as_it_was(tmp_path, exists):
    target = tmp_path / "results"
    if exists:
        with staged(target) as folder:
            write(folder, "old")
    with pytest.raises(ZeroDivisionError):
        _write_half(target)
    assert target.exists() == exists
    if exists:
        assert sorted(p.name for p in target.iterdir()) == ["figures", "metrics.json"]
        assert (target / "metrics.json").read_text() == "old"


def test_a_full_disk_is_explained(tmp_path):
    with pytest.raises(UserError, match=r"cannot be written to .*results: No space left"), staged(tmp_path / "results"):
        raise OSError(28, "No space left on device")
    assert not (tmp_path / "results").exists()


def test_a_file_where_a_folder_is_needed(tmp_path):
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="is a file"):
            require_writable(target)
    require_writable(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        require_writable(tmp_path / "new")
    tmp_path.chmod(0o700)
