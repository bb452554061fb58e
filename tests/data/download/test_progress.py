"""The one progress bar."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from unet_exp.data import _progress
from unet_exp.data._progress import progress


@pytest.fixture(autouse=True)
def told_at_once(monkeypatch):
    monkeypatch.setattr(_progress, "_SILENT_SECONDS", 0.0)


def lines(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_a_log_gets_a_line_every_tenth_and_the_end(capsys):
    with progress("Check", 1000, "files") as bar:
        for _ in range(1000):
            bar.advance(1)
    written = lines(capsys)
    assert written[:-1] == [f"Check: {p} %, {10 * p} of 1000 files" for p in range(10, 100, 10)]
    assert written[-1] == "Check: done, 1000 of 1000 files"


def test_a_log_gets_a_line_now_and_then_where_the_total_is_unknown(capsys, monkeypatch):
    clock = iter(range(0, 10_000, 10))  # ten seconds from one look to the next
    monkeypatch.setattr(_progress.time, "monotonic", lambda: next(clock))
    with progress("Get", None, "files") as bar:
        for _ in range(9):
            bar.advance(1)
    assert lines(capsys) == [*(f"Get: {n} files" for n in (3, 6, 9)), "Get: done, 9 files"]


def test_bytes_are_shown_with_their_rate(capsys):
    with progress("Get", 2_000_000, "bytes") as bar:
        bar.describe("a[1].zip")
        bar.advance(2_000_000)
    assert lines(capsys)[-1].startswith("Get: done, 2.0 MB of 2.0 MB, ")
    # the text comes last, and a file name in brackets is not a style
    with progress("Get", 5, "bytes") as bar:
        bar.describe("a[1].zip")
    assert lines(capsys)[-1].endswith("/s (a[1].zip)")


def test_bytes_that_are_fetched_again_are_taken_back(capsys):
    with progress("Get", 100, "files") as bar:
        bar.advance(50)
        bar.advance(-50)
    assert lines(capsys)[-1] == "Get: done, 0 of 100 files"


def test_nothing_to_do_shows_nothing(capsys):
    with progress("Get", 0, "bytes") as bar:
        bar.advance(1)
        bar.describe("x")
    assert lines(capsys) == []


def test_an_error_is_not_reported_as_done(capsys):
    with pytest.raises(KeyError), progress("Get", 10, "files"):
        raise KeyError
    assert lines(capsys) == []


def test_what_is_done_at_once_is_not_worth_a_line(capsys, monkeypatch):
    monkeypatch.setattr(_progress, "_SILENT_SECONDS", 3.0)
    with progress("Check", 10, "files") as bar:
        bar.advance(10)
    assert lines(capsys) == []


def test_a_terminal_gets_a_live_bar(tmp_path):
    code = (
        "import sys; sys.stderr.isatty = lambda: True\n"
        "from unet_exp.data._progress import progress\n"
        "with progress('Get', 10_000_000, 'bytes') as bar:\n"
        "    bar.describe('a[1].zip'); bar.advance(4_000_000); bar.expect(8_000_000)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True,
        env={"FORCE_COLOR": "1", "COLUMNS": "120", "TERM": "xterm"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "Get: a[1].zip" in done.stderr
    assert "4.0/8.0 MB" in done.stderr


def test_downloads_do_not_load_torch():
    modules = "unet_exp.data._progress, unet_exp.data._download.bcss, unet_exp.data._download.isic"
    code = f"import sys, {modules}, unet_exp.data._download.manual; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0
