"""`python -m unet_exp.prepare`: its stages, its messages, what a second call and an interrupted one do."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import fake
from tests.conftest import REAL_DATA, heed_ctrl_c
from tests.data.download import fakes
from tests.data.download import server as faults
from tests.data.download.server import Server


@pytest.fixture
def prepare(run_module, tmp_path):
    def run(*arguments, data="bcss"):
        return run_module("unet_exp.prepare", f"data={data}", *arguments, f"store_folder={tmp_path / 'store'}")

    return run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_all_stages_at_once_and_nothing_the_second_time(prepare, tmp_path):
    root = fake.bcss(tmp_path / "data")
    done = prepare(f"data.root={root}", "data.patch_size=32")
    assert done.returncode == 0, done.stderr
    for line in (
        f"files     7 cases in {root}: no fault, 0 warnings",
        "split     3 train, 2 val, 2 test (official)",
        "classes   tumor ",
        "preview   outputs/prepare/bcss/preview-color-",
    ):
        assert line in done.stdout
    assert "Converting 7 cases of bcss: at most 0." in done.stderr
    (store,) = (tmp_path / "store").glob("bcss-*")
    (sheet,) = (tmp_path / "outputs" / "prepare" / "bcss").glob("preview-color-*.png")
    with Image.open(sheet) as picture:
        assert min(picture.size) > 300
    made = {path: path.stat().st_mtime_ns for path in (sheet, *store.iterdir())}

    again = prepare(f"data.root={root}", "data.patch_size=32")
    assert again.returncode == 0
    assert again.stdout == done.stdout
    assert again.stderr == ""
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_a_second_call_needs_no_torch(tmp_path):
    root = fake.bcss(tmp_path / "data")
    code = (
        "import sys; from unet_exp.prepare import main; main(); "
        "assert not {'torch', 'lightning', 'albumentations'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, "data=bcss", f"data.root={root}", "stage=convert"]
    for _ in range(2):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr


def test_verify_lists_every_fault_at_once(prepare, tmp_path):
    root = fake.bcss(tmp_path / "data")
    unreadable, unknown, lonely, odd = (next((root / "images").glob(f"*-{i}-*")) for i in ("A2", "AR", "D8", "BH"))
    unreadable.write_bytes(unreadable.read_bytes()[:500])
    mask = root / "masks" / unknown.name
    codes = np.asarray(Image.open(mask)).copy()
    codes[:2] = 77
    Image.fromarray(codes).save(mask)
    (root / "masks" / lonely.name).unlink()
    odd.rename(odd.with_name("region one.png"))
    done = prepare(f"data.root={root}", "stage=verify", "output=report")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    table = rows(tmp_path / "report" / "findings.csv")
    found = {(row["kind"], Path(row["file"]).name) for row in table}
    assert ("unreadable", unreadable.name) in found
    assert ("unknown_code", unknown.name) in found
    assert ("missing_mask", lonely.name) in found
    assert {"missing_image", "missing_mask"} <= {kind for kind, name in found if name in (odd.name, "region one.png")}
    assert all(row["remedy"] and row["detail"] for row in table)
    assert "77" in next(row["detail"] for row in table if row["kind"] == "unknown_code")
    for name in (unreadable.name, unknown.name, lonely.name):
        assert name in done.stdout
    assert "report/findings.csv" in done.stderr
    assert not list((tmp_path / "store").glob("bcss-*"))


@pytest.mark.slow
def test_verify_tells_of_a_damaged_store(prepare, tmp_path):
    root = fake.bcss(tmp_path / "data")
    assert "store     not made yet" in prepare(f"data.root={root}", "stage=verify").stdout
    assert prepare(f"data.root={root}", "stage=convert").returncode == 0
    assert "all check sums are right" in prepare(f"data.root={root}", "stage=verify").stdout
    (store,) = (tmp_path / "store").glob("bcss-*")
    images = store / "images.bin"
    stat = images.stat()
    content = bytearray(images.read_bytes())
    content[1000] ^= 1
    images.write_bytes(content)
    os.utime(images, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # nothing but the check sums can tell
    assert "is damaged: the pixels of TCGA-" in prepare(f"data.root={root}", "stage=verify").stdout


@pytest.mark.slow
def test_preview_of_another_augmentation(prepare, tmp_path):
    root = fake.isic(tmp_path / "data", year=2017)
    done = prepare(f"data.root={root}", "stage=preview", "augmentation=dermoscopy", "preview_cases=2", data="isic2017")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "outputs/prepare/isic2017").glob("preview-dermoscopy-*.png"))


@pytest.mark.slow
def test_demo_data_is_generated_on_the_way(prepare, tmp_path):
    done = prepare("stage=verify", data="lesion_demo")
    assert done.returncode == 0, done.stderr
    assert "no fault" in done.stdout
    assert (tmp_path / "data" / "lesion_demo" / "generated.json").is_file()


def test_data_that_must_be_got_by_hand_is_explained(prepare, tmp_path):
    done = prepare("data.root=nowhere", data="ph2")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "on request" in done.stderr
    assert "archive=" in prepare("stage=download", "data.root=nowhere", data="ph2").stderr
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("stage=everything", "stage: Input should be 'all', 'download', 'verify', 'convert' or 'preview', got"),
        ("jobs=0", "jobs: Input should be greater than 0, got 0."),
        ("+mpp=1", "mpp: The configuration of prepare has no such argument."),
        ("data.mpp=-1", "data.mpp: Input should be greater than 0, got -1."),
        ("download.attempts=0", "download.attempts: Input should be greater than 0, got 0."),
    ],
)
def test_mistakes_are_explained(prepare, argument, message):
    done = prepare(argument)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_what_there_is(run_module):
    done = run_module("unet_exp.prepare", "--help")
    assert done.returncode == 0
    assert "stage: all" in done.stdout
    assert "isic2017" in done.stdout


@pytest.mark.slow
def test_bcss_is_downloaded_verified_and_converted(prepare, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with Server() as server:
        slides = fakes.bcss(server)
        given = [f"data.{key}={value}" for key, value in slides.arguments.items()]
        root = tmp_path / "bcss"
        done = prepare(*given, f"data.root={root}", "data.patch_size=64", "data.mpp=0.5")
        assert done.returncode == 0, done.stderr
        assert f"3 cases in {root}: no fault" in done.stdout
        assert {path.name for path in (root / "masks").iterdir()} == set(slides.names.values())
        assert not (root / ".download-unfinished").exists()
        server.requests.clear()
        assert prepare(*given, f"data.root={root}", "data.patch_size=64", "data.mpp=0.5").stdout == done.stdout
        assert server.requests == []


@pytest.mark.slow
def test_a_download_that_failed_is_continued_by_the_same_command(prepare, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with Server() as server:
        slides = fakes.bcss(server)
        slides.region("TCGA-OL-A66P").faults[:] = [faults.status(404)] * 9
        given = [f"data.{key}={value}" for key, value in slides.arguments.items()]
        given += [f"data.root={tmp_path / 'bcss'}", "download.backoff=0.01", "stage=all", "data.patch_size=64"]
        failed = prepare(*given)
        assert failed.returncode == 1
        assert slides.names["TCGA-OL-A66P"] in failed.stderr
        assert "Traceback" not in failed.stderr
        assert not list((tmp_path / "store").glob("bcss-*"))
        slides.region("TCGA-OL-A66P").faults.clear()
        assert prepare(*given).returncode == 0


@pytest.mark.slow
def test_ctrl_c_ends_at_once_and_the_next_call_completes(tmp_path):
    root = fake.bcss(tmp_path / "data")
    command = [sys.executable, "-m", "unet_exp.prepare", "data=bcss", f"data.root={root}", "data.mpp=0.01"]
    command += ["stage=convert", "jobs=1", f"store_folder={tmp_path / 'store'}"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c)
    while not list((tmp_path / "store").glob(".bcss-*-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in error
    assert "Traceback" not in error
    assert not list((tmp_path / "store").glob("bcss-*"))
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120).returncode == 0
    assert len(list((tmp_path / "store").glob("bcss-*"))) == 1


@pytest.mark.slow
@pytest.mark.skipif(not (REAL_DATA / "bcss").is_dir(), reason="the shared BCSS regions are not here")
def test_real_regions(prepare):
    done = prepare(f"data.root={REAL_DATA / 'bcss'}", "data.mpp=1.2", "stage=convert")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 cases" in done.stdout
    assert "no fault" in done.stdout


@pytest.mark.skipif(not (REAL_DATA / "bcss").is_dir(), reason="the shared BCSS regions are not here")
def test_real_masks_without_image_are_named(prepare, tmp_path):
    folder = REAL_DATA / "bcss" / "masks_without_rgb"
    done = prepare(f"data.root={folder}", "stage=verify")
    assert done.returncode == 1
    table = rows(tmp_path / "outputs" / "prepare" / "bcss" / "findings.csv")
    assert {Path(row["file"]).name for row in table} == {path.name for path in folder.glob("*.png")}
    assert {row["kind"] for row in table} == {"missing_image"}


@pytest.mark.slow
@pytest.mark.skipif(not (REAL_DATA / "isic2017_native").is_dir(), reason="the shared ISIC images are not here")
def test_real_photographs_of_mixed_sizes(prepare):
    done = prepare(f"data.root={REAL_DATA / 'isic2017_native'}", "preview_versions=2", data="isic2017")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 cases" in done.stdout
