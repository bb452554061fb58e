"""Fetching over a bad line: every fault is really injected, and what is on the disk is never wrong."""

import json
import os
import threading
from email.utils import formatdate
from time import monotonic, time

import httpx
import pytest

from tests.data.download import server as faults
from tests.data.download.conftest import png, zipped
from unet_exp.data._download import _fetch
from unet_exp.data._download._content import check_image, check_zip
from unet_exp.data._download._fetch import RemoteFile, fetch_files
from unet_exp.data._download._part import PartFile
from unet_exp.data._download._settings import DownloadSettings
from unet_exp.data._download._transfer import StoppedError, TransientError, transfer
from unet_exp.errors import DataError

BODY = os.urandom(20_000)


def fetch(server, settings, tmp_path, **options):
    fetch_files([RemoteFile(url=f"{server.url}/a", path=tmp_path / "a", **options)], settings)
    return (tmp_path / "a").read_bytes()


def starts(server):
    """Where each request began to read."""
    return [int(r.range.removeprefix("bytes=").rstrip("-")) if r.range else 0 for r in server.requests]


@pytest.mark.parametrize("fault", [faults.truncated(7000), faults.reset(7000)], ids=["cut off", "reset"])
def test_a_broken_transfer_is_continued_with_the_missing_bytes_only(server, settings, tmp_path, fault):
    server.add("/a", BODY, faults=[fault])
    assert fetch(server, settings, tmp_path) == BODY
    assert starts(server) == [0, 7000]
    assert [request.sent for request in server.requests] == [7000, 13_000]
    assert server.requests[-1].headers["if-range"] == '"1"'  # only if it is still the same file


def test_a_stalled_transfer_is_continued(server, tmp_path):
    server.add("/a", BODY, faults=[faults.stall(7000)])
    settings = DownloadSettings(attempts=2, stall_timeout=0.3, backoff=0.01)
    assert fetch(server, settings, tmp_path) == BODY
    assert starts(server) == [0, 7000]


def test_progress_is_never_given_up(server, tmp_path):
    server.add("/a", BODY, faults=[faults.truncated(1000) for _ in range(15)])
    assert fetch(server, DownloadSettings(attempts=2, backoff=0.001), tmp_path) == BODY
    assert starts(server) == list(range(0, 16_000, 1000))


def test_tries_that_bring_nothing_are_given_up(server, settings, tmp_path):
    server.add("/a", BODY, faults=[faults.truncated(7000)] + [faults.truncated(0) for _ in range(9)])
    with pytest.raises(DataError, match=r"connection to 127\.0\.0\.1 broke"):
        fetch(server, settings, tmp_path)
    assert len(server.requests) == 1 + settings.attempts - 1
    assert (tmp_path / "a.part").read_bytes() == BODY[:7000]


def test_a_half_file_is_continued_by_the_next_call(server, settings, tmp_path):
    server.add("/a", BODY, faults=[faults.truncated(7000), *(faults.status(500) for _ in range(2))])
    with pytest.raises(DataError, match="The same command continues"):
        fetch(server, settings, tmp_path)
    assert not (tmp_path / "a").exists()
    assert fetch(server, settings, tmp_path) == BODY
    assert server.requests[-1].range == "bytes=7000-"
    assert sorted(path.name for path in tmp_path.glob("a*")) == ["a"]


def test_a_server_without_ranges_begins_anew(server, settings, tmp_path):
    server.add("/a", BODY, ranges=False, faults=[faults.truncated(7000)])
    assert fetch(server, settings, tmp_path) == BODY
    assert server.requests[-1].range == "bytes=7000-"
    assert server.requests[-1].sent == len(BODY)


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_without_a_strong_version_mark_nothing_is_continued(server, settings, tmp_path, etag):
    server.add("/a", BODY, etag=etag, faults=[faults.truncated(7000)])
    assert fetch(server, settings, tmp_path) == BODY
    assert starts(server) == [0, 0]


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_two_versions_of_a_file_are_not_glued_together(server, settings, tmp_path, heeds_if_range):
    changed = os.urandom(len(BODY))

    def replace(handler, resource):
        faults.truncated(7000)(handler, resource)
        resource.body, resource.etag, resource.heeds_if_range = changed, '"2"', heeds_if_range

    server.add("/a", BODY, faults=[replace])
    assert fetch(server, settings, tmp_path) == changed


def test_a_file_that_became_shorter_is_fetched_anew(server, settings, tmp_path):
    def shorten(handler, resource):
        faults.truncated(7000)(handler, resource)
        resource.body = BODY[:5000]

    server.add("/a", BODY, faults=[shorten])
    assert fetch(server, settings, tmp_path) == BODY[:5000]
    assert starts(server) == [0, 7000, 0]


def test_a_half_file_of_another_address_is_not_continued(server, settings, tmp_path):
    server.add("/a", lambda request: BODY if request.query["scale"] == "2" else BODY[::-1])
    server.resources["/a"].faults = [faults.truncated(7000), faults.status(404)]
    with pytest.raises(DataError):
        fetch(server, settings, tmp_path, params={"scale": "1"})
    assert fetch(server, settings, tmp_path, params={"scale": "2"}) == BODY


def test_a_continuation_that_ends_early_is_continued_again(server, settings, tmp_path):
    server.add("/a", BODY, faults=[faults.truncated(7000), faults.less_than_asked(3000)])
    assert fetch(server, settings, tmp_path) == BODY
    assert starts(server) == [0, 7000, 10_000]


def test_a_continuation_from_another_place_is_not_glued_on(server, settings, tmp_path):
    server.add("/a", BODY, faults=[faults.truncated(7000), faults.from_elsewhere])
    assert fetch(server, settings, tmp_path) == BODY


def test_a_file_that_only_lacked_its_check_is_not_fetched_again(server, settings, tmp_path):
    url = server.add("/a", png())
    (tmp_path / "a.part").write_bytes(png())  # as a process leaves it that is killed during the check
    note = {"address": url, "validator": '"1"', "total": len(png())}
    (tmp_path / "a.part.json").write_text(json.dumps(note))
    assert fetch(server, settings, tmp_path, check=check_image) == png()
    assert server.requests == []


def test_after_a_stop_nothing_more_is_written(server, tmp_path):
    file = RemoteFile(url=server.add("/a", bytes(5_000_000)), path=tmp_path / "a")
    stop = threading.Event()
    with httpx.Client() as client, pytest.raises(StoppedError):
        transfer(client, file, PartFile(file.path), lambda size, total: stop.set(), stop)
    assert 0 < PartFile(file.path).size < 5_000_000


def test_a_half_file_of_unknown_origin_is_not_continued(server, settings, tmp_path):
    (tmp_path / "a.part").write_bytes(b"of another program")
    server.add("/a", BODY)
    assert fetch(server, settings, tmp_path) == BODY
    assert starts(server) == [0]


def test_a_damaged_note_beside_a_half_file_is_ignored(server, settings, tmp_path):
    (tmp_path / "a.part").write_bytes(BODY[:10])
    (tmp_path / "a.part.json").write_text("{half a no")
    server.add("/a", BODY)
    assert fetch(server, settings, tmp_path) == BODY


def test_errors_of_the_server_pass(server, settings, tmp_path):
    server.add("/a", BODY, faults=[faults.status(500), faults.status(500)])
    assert fetch(server, settings, tmp_path) == BODY
    assert len(server.requests) == 3


@pytest.mark.parametrize(("code", "form"), [(503, "seconds"), (429, "date")])
def test_the_server_says_how_long_to_wait(server, settings, tmp_path, code, form):
    # A date has whole seconds: two ahead are at least one.
    wait = "1" if form == "seconds" else formatdate(time() + 2, usegmt=True)
    server.add("/a", BODY, faults=[faults.status(code, Retry_After=wait)])
    start = monotonic()
    assert fetch(server, settings, tmp_path) == BODY
    assert monotonic() - start >= 0.9  # settings.backoff alone would be 0.01 s


def test_a_wait_beyond_patience_is_reported_instead(server, settings, tmp_path):
    server.add("/a", BODY, faults=[faults.status(503, Retry_After="86400")])
    with pytest.raises(DataError, match="come back in 86400 s"):
        fetch(server, settings, tmp_path)


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_refusal_is_final_at_once(server, settings, tmp_path, code):
    server.add("/a", BODY, faults=[faults.status(code)])
    with pytest.raises(DataError, match=str(code)):
        fetch(server, settings, tmp_path)
    assert len(server.requests) == 1


def test_one_failing_file_does_not_keep_the_others_and_all_failures_are_listed(server, settings, tmp_path):
    names = [f"{i}.png" for i in range(6)]
    images = {name: png(seed=i) for i, name in enumerate(names)}
    for name, image in images.items():
        server.add(f"/{name}", image)
    server.resources["/1.png"].faults = [faults.status(500) for _ in range(9)]
    del server.resources["/4.png"]
    files = [RemoteFile(url=f"{server.url}/{name}", path=tmp_path / name, check=check_image) for name in names]
    with pytest.raises(DataError) as caught:
        fetch_files(files, settings)
    message = str(caught.value)
    assert message.startswith("2 of 6 files could not be downloaded:\n")
    assert f"{tmp_path / '1.png'}: the server answered 500" in message
    assert f"{tmp_path / '4.png'}: the server answered 404" in message
    assert {p.name: p.read_bytes() for p in tmp_path.glob("*.png")} == {n: images[n] for n in names if n[0] not in "14"}


def test_a_server_that_is_down_is_not_tried_for_every_file(settings, tmp_path, server):
    other = server.add("/here", b"x")
    dead = [RemoteFile(url=f"http://127.0.0.2:9/{i}", path=tmp_path / str(i)) for i in range(40)]
    with pytest.raises(DataError) as caught:
        fetch_files([*dead, RemoteFile(url=other, path=tmp_path / "here")], settings)
    lines = str(caught.value).splitlines()
    assert sum("127.0.0.2 cannot be reached (" in line for line in lines) <= 2 * settings.connections
    assert sum("not tried, because 127.0.0.2 cannot be reached" in line for line in lines) >= 30
    assert (tmp_path / "here").read_bytes() == b"x"


@pytest.mark.parametrize(("content", "check"), [(png(), check_image), (zipped({"a": b"x"}), check_zip)])
def test_a_login_page_is_not_taken_for_the_file(server, settings, tmp_path, content, check):
    server.add("/a", content, faults=[faults.web_page])
    with pytest.raises(DataError, match="web page instead of the file"):
        fetch(server, settings, tmp_path, check=check)
    assert not (tmp_path / "a").exists()
    assert fetch(server, settings, tmp_path, check=check) == content


def test_a_server_that_answers_in_between_is_not_given_up(settings, tmp_path, monkeypatch):
    def every_second(_client, file, *_):
        if int(file.path.name) % 2:
            raise TransientError("cannot be reached", unreachable=True)

    monkeypatch.setattr(_fetch, "download", every_second)
    files = [RemoteFile(url="http://host/a", path=tmp_path / str(i)) for i in range(20)]
    failed = _fetch.try_files(files, DownloadSettings(connections=1), title="Test")
    assert [failure.reason for failure in failed] == ["cannot be reached"] * 10


def test_a_login_page_does_not_cost_the_half_file(server, settings, tmp_path):
    server.add("/a", BODY, faults=[faults.truncated(7000), faults.web_page])
    with pytest.raises(DataError, match="web page"):
        fetch(server, settings, tmp_path)
    assert fetch(server, settings, tmp_path) == BODY
    assert server.requests[-1].range == "bytes=7000-"


def test_a_compressed_answer_is_not_stored_as_the_file(server, settings, tmp_path):
    server.add("/a", BODY, faults=[faults.status(200, Content_Encoding="gzip")])
    with pytest.raises(DataError, match="compresses the file"):
        fetch(server, settings, tmp_path)


def test_a_transfer_without_length_is_complete(server, settings, tmp_path):
    server.add("/a", BODY, faults=[faults.chunked()])
    assert fetch(server, settings, tmp_path) == BODY


@pytest.mark.parametrize(
    "fault", [faults.chunked(cut=900), faults.wrong_length(900)], ids=["without length", "with consistent length"]
)
@pytest.mark.parametrize(("content", "check"), [(png(), check_image), (zipped({"a": BODY}), check_zip)])
def test_content_that_is_cut_off_is_fetched_anew(server, settings, tmp_path, fault, content, check):
    server.add("/a", content, faults=[fault])
    assert fetch(server, settings, tmp_path, check=check) == content
    assert starts(server) == [0, 0]


def test_content_that_stays_wrong_is_never_named(server, settings, tmp_path):
    server.add("/a", png()[:-20])
    with pytest.raises(DataError, match="damaged or cut off"):
        fetch(server, settings, tmp_path, check=check_image)
    assert list(tmp_path.glob("a*")) == []


def test_a_file_of_another_size_than_known_is_refused(server, settings, tmp_path):
    server.add("/a", BODY)
    with pytest.raises(DataError, match=r"offers 20000 bytes where 30000 are expected"):
        fetch(server, settings, tmp_path, size=30_000)
    assert not (tmp_path / "a").exists()


def test_the_known_size_also_counts_where_the_server_names_none(server, settings, tmp_path):
    server.add("/a", BODY, faults=[faults.chunked(cut=900)])
    assert fetch(server, settings, tmp_path, size=len(BODY)) == BODY
