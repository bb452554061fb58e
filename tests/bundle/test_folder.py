"""A bundle is there in full or not at all."""

import errno

import pytest

from unet_exp.bundle.folder import new_folder
from unet_exp.errors import UserError


def write(target, content="new", *, overwrite=False):
    with new_folder(target, overwrite=overwrite) as folder:
        (folder / "bundle.json").write_text(content)
        (folder / "bundle.json").chmod(0o600)
        assert not (target / "bundle.json").exists() or (target / "bundle.json").read_text() != content


def test_a_new_folder(tmp_path):
    write(tmp_path / "deep" / "bundle")
    assert (tmp_path / "deep" / "bundle" / "bundle.json").read_text() == "new"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["bundle"]
    assert (tmp_path / "deep" / "bundle").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "deep" / "bundle" / "bundle.json").stat().st_mode & 0o777 == 0o644


def test_an_existing_bundle_is_replaced_only_when_told_to(tmp_path):
    write(tmp_path / "bundle", "old")
    (tmp_path / "bundle" / "extra").touch()
    with pytest.raises(UserError, match="exists already"):
        write(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "bundle.json").read_text() == "old"
    write(tmp_path / "bundle", overwrite=True)
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["bundle.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_is_no_bundle_is_never_replaced(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "home")
    for name in ("home", "file", "link"):
        with pytest.raises(UserError, match="is not a bundle"):
            write(tmp_path / name, overwrite=True)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years"


@pytest.mark.parametrize("there", [False, True])
def test_a_failure_leaves_nothing_behind_and_what_was_there_untouched(tmp_path, there):
    if there:
        write(tmp_path / "bundle", "old")

    def fail():
        with new_folder(tmp_path / "bundle", overwrite=there) as folder:
            (folder / "bundle.json").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == (["bundle"] if there else [])
    assert not there or (tmp_path / "bundle" / "bundle.json").read_text() == "old"


def test_a_full_disk_is_one_clear_message(tmp_path):
    def fail():
        with new_folder(tmp_path / "bundle", overwrite=False):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"bundle cannot be written: No space left on device\."):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_no_place_to_write(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write to"):
        write(tmp_path / "file" / "bundle")
