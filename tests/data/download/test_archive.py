"""Unpacking: good archives arrive whole, bad ones leave no trace, and nothing of the user's is touched."""

import io
import stat
import struct
import tarfile
import zipfile
from pathlib import PurePosixPath

import pytest

from tests.data.download.conftest import zipped
from unet_exp.data._download import _archive
from unet_exp.data._download._archive import extract_archive
from unet_exp.data._download._members import Contents, Member
from unet_exp.data._download.manual import import_by_hand
from unet_exp.data._progress import progress
from unet_exp.errors import DataError

MEMBERS = {"top/images/a.png": b"a" * 3000, "top/masks/a.png": b"b" * 10, "top/readme.txt": b"text"}


def tarred(members: dict[str, bytes] | list[tuple[str, bytes]], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tar_with(info: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(info)
    return buffer.getvalue()


@pytest.fixture
def place(tmp_path):
    """Writes an archive; the folder that it is unpacked to."""

    def write(content: bytes, name: str = "archive.zip"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name, tmp_path / "target"

    return write


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name[0] != "."}


@pytest.mark.parametrize(
    "content",
    [zipped(MEMBERS), *(tarred(MEMBERS, mode) for mode in ("w", "w:gz", "w:bz2", "w:xz"))],
    ids=["zip", "tar", "gz", "bz2", "xz"],
)
def test_every_kind_is_unpacked_whatever_its_name(place, content):
    archive, target = place(content, name="download")
    extract_archive(archive, target)
    assert tree(target) == MEMBERS


@pytest.mark.parametrize("top", ["", "Official/", "official_v2/deep/"])
def test_the_folder_name_does_not_depend_on_the_archive(place, top):
    archive, target = place(zipped({f"{top}a.jpg": b"1", f"{top}b.jpg": b"2", "__MACOSX/._a.jpg": b"x"}))
    extract_archive(archive, target, folder="Official")
    assert tree(target) == {"Official/a.jpg": b"1", "Official/b.jpg": b"2"}


def test_unwanted_members_are_left_out(place):
    archive, target = place(zipped({"a.jpg": b"1", "a_superpixels.png": b"2"}))
    extract_archive(archive, target, wanted=lambda name: name.endswith(".jpg"))
    assert tree(target) == {"a.jpg": b"1"}


def zip_entry(name: str, mode: int = 0, content: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("good.txt", b"good")
        archive.writestr(info, content)
    return buffer.getvalue()


def tar_link(kind: bytes) -> bytes:
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, "/etc"
    return tar_with(info)


@pytest.mark.parametrize(
    "content",
    [
        zip_entry("../evil.txt"),
        zip_entry("a/../../evil.txt"),
        zip_entry("/evil.txt"),
        zip_entry("..\\evil.txt"),
        zip_entry("C:\\evil.txt"),
        zip_entry("link", stat.S_IFLNK | 0o777, b"/etc"),
        tarred({"good.txt": b"good", "../evil.txt": b"x"}),
        tarred({"good.txt": b"good", "/evil.txt": b"x"}),
        tar_link(tarfile.SYMTYPE),
        tar_link(tarfile.LNKTYPE),
        tar_link(tarfile.FIFOTYPE),
        tar_link(tarfile.CHRTYPE),
    ],
    ids=[
        *("zip dotdot", "zip inner dotdot", "zip absolute", "zip backslash", "zip drive", "zip symlink"),
        *("tar dotdot", "tar absolute", "tar symlink", "tar hard link", "tar fifo", "tar device"),
    ],
)
def test_members_that_leave_the_folder_are_refused_with_the_whole_archive(place, content, tmp_path):
    archive, target = place(content)
    with pytest.raises(DataError, match=r"would be written outside|is a link or a device"):
        extract_archive(archive, target)
    assert tree(tmp_path) == {"archive.zip": content}


def test_a_bomb_is_refused_by_its_declared_size(place):
    archive, target = place(zipped({f"{i}": bytes(100_000) for i in range(20)}))
    with pytest.raises(DataError, match="an attack"):
        extract_archive(archive, target, max_bytes=1_000_000)
    assert tree(target) == {}


def test_a_bomb_is_refused_by_its_ratio(place, monkeypatch):
    monkeypatch.setattr(_archive, "_HARMLESS", 1000)
    archive, target = place(zipped({"zeros": bytes(1_000_000)}))
    with pytest.raises(DataError, match="an attack"):
        extract_archive(archive, target)
    extract_archive(archive, target, max_ratio=10_000)
    assert (target / "zeros").stat().st_size == 1_000_000


def test_a_tar_bomb_is_refused_before_it_is_written(place):
    archive, target = place(tarred({f"{i}": bytes(100_000) for i in range(20)}))
    with pytest.raises(DataError, match="an attack"):
        extract_archive(archive, target, max_bytes=1_000_000)
    assert tree(target) == {}


def test_a_tar_bomb_is_refused_by_its_header_alone(place):
    info = tarfile.TarInfo("huge")
    info.size = 1 << 45
    archive, target = place(info.tobuf() + bytes(1024))
    with pytest.raises(DataError, match="an attack"):
        extract_archive(archive, target)


def test_what_is_really_written_counts_as_well(tmp_path):
    liar = Member(PurePosixPath("a"), 10, lambda: io.BytesIO(bytes(5_000_000)))
    (tmp_path / "a.zip").write_bytes(b"")
    (tmp_path / "out").mkdir()
    budget = _archive._Budget(tmp_path / "a.zip", limit=1000)
    with pytest.raises(DataError, match="an attack"), progress("Test", None, "bytes") as bar:
        _archive._unpack(Contents(iter([liar]), None), tmp_path / "out", lambda _: True, budget, bar)
    assert (tmp_path / "out/a").stat().st_size == 0


def test_an_archive_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.zip cannot be read"):
        extract_archive(tmp_path / "none.zip", tmp_path / "target")


def test_a_zip_that_lies_about_its_size_writes_no_more_than_declared(place):
    content = bytearray(zipped({"zeros": bytes(1_000_000)}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):  # where the two headers hold the size
        struct.pack_into("<I", content, content.index(signature) + offset, 1000)
    archive, target = place(bytes(content))
    with pytest.raises(DataError, match="is damaged"):
        extract_archive(archive, target)
    assert tree(target) == {}


def spoiled(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


STORED = zip_entry("a.bin", content=b"0123456789" * 50)


@pytest.mark.parametrize(
    "content",
    [
        spoiled(STORED, STORED.index(b"0123456789") + 100),
        STORED[:-30],
        zipped(MEMBERS)[:200],
        tarred(MEMBERS)[:-5],
        spoiled(tarred(MEMBERS), len(tarred(MEMBERS)) - 6),
        tarred(MEMBERS, "w:xz")[:-20],
    ],
    ids=["zip checksum", "zip end", "zip half", "gzip end", "gzip checksum", "xz end"],
)
def test_a_damaged_archive_is_named_and_nothing_is_lost(place, content, tmp_path):
    archive, target = place(content)
    target.mkdir()
    (target / "mine.txt").write_bytes(b"mine")
    with pytest.raises(DataError, match="is damaged") as caught:
        extract_archive(archive, target)
    assert str(archive) in str(caught.value)
    assert tree(tmp_path) == {"archive.zip": content, "target/mine.txt": b"mine"}


def test_two_members_of_one_name_are_refused(place):
    archive, target = place(tarred([("a", b"1"), ("a", b"2")]))
    with pytest.raises(DataError, match="is damaged"):
        extract_archive(archive, target)


def test_an_encrypted_archive_is_explained(place):
    content = bytearray(zipped({"a": b"x"}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flags of the two headers
        content[content.index(signature) + offset] |= 1
    archive, target = place(bytes(content))
    with pytest.raises(DataError, match="is encrypted"):
        extract_archive(archive, target)


@pytest.mark.parametrize(("head", "name"), [(b"Rar!\x1a\x07\x01\x00", "RAR"), (b"7z\xbc\xaf\x27\x1c\x00\x04", "7-Zip")])
def test_archives_that_python_cannot_unpack_are_explained(place, head, name):
    archive, target = place(head + b"rest")
    with pytest.raises(DataError, match=rf"{name} archive.*unrar.*data\.root"):
        extract_archive(archive, target)


def test_what_is_no_archive_is_named(place):
    archive, target = place(b"<html>no archive</html>")
    with pytest.raises(DataError, match="neither a zip nor a tar"):
        extract_archive(archive, target)


def test_an_archive_without_wanted_files_is_an_error(place):
    archive, target = place(zipped(MEMBERS))
    with pytest.raises(DataError, match="holds none of the files"):
        extract_archive(archive, target, wanted=lambda name: name.endswith(".jpg"))


def test_files_that_are_there_are_kept_and_the_rest_is_added(place):
    archive, target = place(zipped(MEMBERS))
    (target / "top/images").mkdir(parents=True)
    (target / "top/images/a.png").write_bytes(b"c" * 3000)
    extract_archive(archive, target)
    assert tree(target) == {**MEMBERS, "top/images/a.png": b"c" * 3000}


def test_files_of_the_user_are_never_replaced(place):
    archive, target = place(zipped(MEMBERS))
    (target / "top").mkdir(parents=True)
    (target / "top/readme.txt").write_bytes(b"my own notes")
    with pytest.raises(DataError, match=r"with other content.*readme\.txt"):
        extract_archive(archive, target)
    assert tree(target) == {"top/readme.txt": b"my own notes"}


def test_the_leftover_of_a_killed_process_is_cleared(place):
    archive, target = place(zipped(MEMBERS))
    (target / ".unpacking-archive.zip/content/top").mkdir(parents=True)
    (target / ".unpacking-archive.zip/content/top/half").write_bytes(b"half")
    extract_archive(archive, target)
    assert tree(target) == MEMBERS
    assert not (target / ".unpacking-archive.zip").exists()


def test_too_little_space_is_noticed_before_unpacking(place, monkeypatch):
    archive, target = place(zipped(MEMBERS))
    usage = _archive.shutil.disk_usage("/")._replace(free=100)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(DataError, match="free on this disk"):
        extract_archive(archive, target)
    assert tree(target) == {}


def test_an_archive_got_by_hand_is_unpacked_under_the_root(place):
    archive, target = place(zipped(MEMBERS))
    import_by_hand(archive, target)
    assert tree(target) == MEMBERS


def test_a_folder_got_by_hand_is_not_copied_but_pointed_at(tmp_path):
    (tmp_path / "ph2").mkdir()
    with pytest.raises(DataError, match=rf"data\.root={tmp_path / 'ph2'}"):
        import_by_hand(tmp_path / "ph2", tmp_path / "root")
    import_by_hand(tmp_path / "ph2", tmp_path / "ph2")  # already where it belongs


def test_a_source_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        import_by_hand(tmp_path / "none.zip", tmp_path / "root")
