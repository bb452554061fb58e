"""Processes that are interrupted, killed, limited, or two at once: what is complete stays, the next call goes on."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY, heed_ctrl_c
from tests.data.download import server as faults
from unet_exp.data._download._fetch import RemoteFile, fetch_files
from unet_exp.data._download._settings import DownloadSettings
from unet_exp.errors import DataError

BODY = os.urandom(50_000)
NAMES = ["0", "1", "2", "3"]

# The stall timeout is long, so that a process which waited for the silent server would be noticed.
SCRIPT = """
import json, sys
from pathlib import Path
from unet_exp.data._download._fetch import RemoteFile, fetch_files
from unet_exp.data._download._settings import DownloadSettings
from unet_exp.errors import DataError
url, folder, names = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
settings = DownloadSettings(connections=1, attempts=2, stall_timeout=500, backoff=0.01)
try:
    fetch_files([RemoteFile(url=f"{url}/{n}", path=folder / n) for n in names], settings, title="Test")
except DataError as error:
    sys.exit(f"DataError: {error}")
"""


def start(server, folder, *prefix, names=NAMES):
    command = [*prefix, sys.executable, "-c", SCRIPT, server.url, str(folder), json.dumps(names)]
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c)


def finish(process):
    """Exit code and standard error; the limit only guards against a hang."""
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def complete(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name in NAMES}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_ended_process_loses_nothing_and_the_next_call_asks_only_for_the_rest(server, settings, tmp_path, number):
    for name in NAMES:
        server.add(f"/{name}", BODY)
    server.resources["/2"].faults = [faults.stall(30_000)]
    process = start(server, tmp_path)
    assert server.sent_some.wait(60)
    part = tmp_path / "2.part"
    while not (part.exists() and part.stat().st_size):  # until some of it is on the disk
        assert process.poll() is None
    process.send_signal(number)
    code, errors = finish(process)
    assert code == -number
    assert ("the same command continues" in errors) == (number == signal.SIGINT)
    assert complete(tmp_path) == {"0": BODY, "1": BODY}
    arrived = part.stat().st_size

    server.requests.clear()
    fetch_files([RemoteFile(url=f"{server.url}/{name}", path=tmp_path / name) for name in NAMES], settings)
    assert complete(tmp_path) == dict.fromkeys(NAMES, BODY)
    assert sorted((r.path, r.range) for r in server.requests) == [("/2", f"bytes={arrived}-"), ("/3", None)]


def test_of_two_processes_one_waits_and_finds_everything_there(server, tmp_path):
    for name in NAMES:
        server.add(f"/{name}", BODY)
    server.resources["/0"].faults = [faults.stall(30_000)]
    first = start(server, tmp_path)
    assert server.sent_some.wait(60)
    second = start(server, tmp_path)
    for line in second.stderr:
        if "Another process is filling" in line:
            break
    else:
        pytest.fail("the second process did not say that it waits")
    server.released.set()
    assert finish(first)[0] == finish(second)[0] == 0
    assert complete(tmp_path) == dict.fromkeys(NAMES, BODY)
    assert sorted(request.path for request in server.requests) == ["/0", "/0", "/1", "/2", "/3"]  # /0 broke once


def test_a_full_disk_is_one_clear_error_and_keeps_what_is_complete(server, tmp_path):
    server.add("/0", BODY[:5000])
    server.add("/1", BODY)
    limit = ["bash", "-c", 'ulimit -f 20; exec "$@"', "limited"]  # blocks of 1024 bytes
    code, errors = finish(start(server, tmp_path, *limit, names=["0", "1"]))
    assert code == 1
    assert f"DataError: {tmp_path}: the file is larger than" in errors
    assert "Traceback" not in errors
    assert (tmp_path / "0").read_bytes() == BODY[:5000]
    assert not (tmp_path / "1").exists()


def test_a_disk_that_fills_up_during_the_download(server, tmp_path):
    tmpfs = tmp_path / "small"
    tmpfs.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32k", "none", str(tmpfs)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        # Without a length the server gives no warning.
        server.add("/0", BODY[:4000], faults=[faults.chunked()])
        server.add("/1", BODY, faults=[faults.chunked()])
        files = [RemoteFile(url=f"{server.url}/{n}", path=tmpfs / n) for n in "01"]
        with pytest.raises(DataError, match="the disk is full") as caught:
            fetch_files(files, DownloadSettings(connections=1))
        assert str(tmpfs) in str(caught.value)
        assert (tmpfs / "0").read_bytes() == BODY[:4000]
        assert not (tmpfs / "1").exists()
    finally:
        subprocess.run(["umount", str(tmpfs)], check=True)
