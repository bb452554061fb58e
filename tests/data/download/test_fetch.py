"""Fetching when all is well: what is requested, what is skipped, what is refused beforehand."""

import threading

import pytest

from tests.data.download import server as faults
from tests.data.download.conftest import png
from unet_exp.data import _progress
from unet_exp.data._download._content import check_image
from unet_exp.data._download._fetch import RemoteFile, fetch_files
from unet_exp.data._download._settings import DownloadSettings
from unet_exp.errors import DataError


def test_files_arrive_byte_for_byte_and_leave_no_half_files(server, settings, tmp_path):
    bodies = {f"{i}.bin": bytes([i]) * (1000 * i + 1) for i in range(7)}
    files = [RemoteFile(url=server.add(f"/{name}", body), path=tmp_path / "a" / name) for name, body in bodies.items()]
    fetch_files(files, settings)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("a/[0-9]*")} == bodies


def test_a_second_call_makes_no_request(server, settings, tmp_path):
    files = [RemoteFile(url=server.add("/a", b"one"), path=tmp_path / "a")]
    fetch_files(files, settings)
    server.requests.clear()
    fetch_files(files, settings)
    assert server.requests == []


def test_complete_files_need_no_server_at_all(settings, tmp_path):
    (tmp_path / "a").write_bytes(b"one")
    fetch_files([RemoteFile(url="http://127.0.0.1:9/a", path=tmp_path / "a")], settings)


def test_several_files_are_fetched_at_once(server, tmp_path):
    together = threading.Barrier(3)

    def body(_):
        together.wait(timeout=30)  # breaks, and fails the test, unless three requests are open at the same time
        return b"x"

    files = [RemoteFile(url=server.add(f"/{i}", body), path=tmp_path / str(i)) for i in range(3)]
    fetch_files(files, DownloadSettings(connections=3, attempts=1))
    assert not together.broken


def test_redirects_are_followed(server, settings, tmp_path):
    server.add("/files/13243676", b"", faults=[faults.redirect("/s3/mask.png")])
    image = png()
    server.add("/s3/mask.png", image)
    fetch_files([RemoteFile(url=f"{server.url}/files/13243676", path=tmp_path / "m.png", check=check_image)], settings)
    assert (tmp_path / "m.png").read_bytes() == image


def test_a_token_is_not_carried_away_by_a_redirect(server, settings, tmp_path):
    server.add("/a", b"", faults=[faults.redirect(f"{server.url}/elsewhere")])
    server.add("/elsewhere", b"x")
    file = RemoteFile(url=f"{server.url}/a", path=tmp_path / "a", headers={"Girder-Token": "secret"})
    with pytest.raises(DataError, match="302"):
        fetch_files([file], settings)
    assert server.requests_for("/elsewhere") == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "/data/a.zip", "example.org/a.zip", "ftp://example.org/a", ""])
def test_only_http_addresses_are_taken(url, tmp_path):
    with pytest.raises(DataError, match="https://"):
        RemoteFile(url=url, path=tmp_path / "a")


def test_a_redirect_to_a_local_file_is_refused(server, settings, tmp_path):
    server.add("/a", b"", faults=[faults.redirect("file:///etc/passwd")])
    with pytest.raises(DataError, match="redirects to where nothing can be fetched"):
        fetch_files([RemoteFile(url=f"{server.url}/a", path=tmp_path / "a")], settings)
    assert not (tmp_path / "a").exists()


def test_no_space_is_noticed_before_the_first_request(server, settings, tmp_path):
    url = server.add("/a", b"x")
    with pytest.raises(DataError, match="free on this disk") as caught:
        fetch_files([RemoteFile(url=url, path=tmp_path / "a", size=1 << 60)], settings)
    assert str(tmp_path) in str(caught.value)
    assert server.requests == []


def test_no_space_is_noticed_when_the_server_names_the_size(server, settings, tmp_path):
    server.add("/a", b"x", faults=[faults.wrong_length(1 << 60)])
    with pytest.raises(DataError, match="free on this disk"):
        fetch_files([RemoteFile(url=f"{server.url}/a", path=tmp_path / "a")], settings)


def test_a_file_of_the_user_with_another_size_is_named_and_kept(server, settings, tmp_path):
    (tmp_path / "a").write_bytes(b"mine")
    with pytest.raises(DataError, match="4 bytes where 9 are expected"):
        fetch_files([RemoteFile(url=server.add("/a", b"x" * 9), path=tmp_path / "a", size=9)], settings)
    assert (tmp_path / "a").read_bytes() == b"mine"


def test_a_target_folder_that_is_a_file_is_explained(server, settings, tmp_path):
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(DataError, match="is a file, not a folder"):
        fetch_files([RemoteFile(url=server.add("/a", b"x"), path=tmp_path / "f" / "a")], settings)


def test_progress_goes_to_standard_error_only(server, settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_progress, "_SILENT_SECONDS", 0.0)
    fetch_files([RemoteFile(url=server.add("/a", b"x" * 5000), path=tmp_path / "a")], settings, title="Masks")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Masks: done" in err
    assert "5.0 kB" in err
