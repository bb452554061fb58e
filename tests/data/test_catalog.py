"""Files are opened once, and again when they have changed; nothing that was learnt is lost."""

import json
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from unet_exp.data import _catalog
from unet_exp.data._case import Case
from unet_exp.data._catalog import Catalog
from unet_exp.data._examination import examine_picture


@pytest.fixture
def cases(tmp_path) -> list[Case]:
    return make_cases(tmp_path / "data", 6)


def make_cases(folder: Path, count: int) -> list[Case]:
    folder.mkdir()
    made = []
    for number in range(count):
        image, mask = folder / f"{number}.bmp", folder / f"{number}.png"
        Image.new("RGB", (5, 4), (number, 0, 0)).save(image)
        Image.new("L", (5, 4), number).save(mask)
        made.append(Case(id=str(number), image=image, mask=mask, patient=str(number), institution="", part="train"))
    return made


class Counted:
    """`examine_picture`, and the ids it was called with."""

    def __init__(self):
        self.ids = []

    def __call__(self, case):
        self.ids.append(case.id)
        return examine_picture(case)


def run(file: Path, cases, *, jobs: int = 1, **options):
    counted = Counted()
    return Catalog(file).examine_all(cases, counted, jobs=jobs, **options), sorted(counted.ids)


def test_every_case_is_examined_once_and_known_ever_after(cases, tmp_path):
    first, opened = run(tmp_path / "catalog.json", cases, jobs=2)
    assert opened == [case.id for case in cases]
    assert first == {case.id: examine_picture(case) for case in cases}
    again, opened = run(tmp_path / "catalog.json", cases)
    assert opened == []
    assert again == first  # the way through the file changes nothing
    assert list(again) == list(first) == [case.id for case in cases]


def test_known_files_are_not_even_opened(cases, tmp_path):
    run(tmp_path / "catalog.json", cases)
    size = cases[0].image.stat().st_size
    stamp = cases[0].image.stat().st_mtime_ns
    cases[0].image.write_bytes(b"x" * size)
    os.utime(cases[0].image, ns=(stamp, stamp))
    seen, _ = run(tmp_path / "catalog.json", cases)
    assert seen["0"].image_shape == (4, 5, 3)


@pytest.mark.parametrize("which", ["image", "mask"])
def test_a_changed_file_is_examined_again_and_only_that(cases, tmp_path, which):
    run(tmp_path / "catalog.json", cases)
    path = getattr(cases[2], which)
    before = path.stat()
    Image.open(path).point(lambda value: value + 1).save(path)
    os.utime(path, ns=(before.st_mtime_ns + 1, before.st_mtime_ns + 1))  # the smallest possible change
    seen, opened = run(tmp_path / "catalog.json", cases)
    assert opened == ["2"]
    assert seen["2"] == examine_picture(cases[2])


def test_a_changed_size_is_noticed_whatever_the_clock_says(cases, tmp_path):
    run(tmp_path / "catalog.json", cases)
    before = cases[3].mask.stat()
    Image.new("L", (5, 40), 1).save(cases[3].mask)
    os.utime(cases[3].mask, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert run(tmp_path / "catalog.json", cases)[1] == ["3"]


def test_a_change_during_the_examination_is_noticed_the_next_time(cases, tmp_path):
    def examine(case):
        seen = examine_picture(case)
        Image.new("RGB", (9, 9)).save(case.image)
        return seen

    Catalog(tmp_path / "catalog.json").examine_all(cases[:1], examine, jobs=1)
    seen, _ = run(tmp_path / "catalog.json", cases[:1])
    assert seen["0"].image_shape == (9, 9, 3)


def test_fresh_opens_everything(cases, tmp_path):
    run(tmp_path / "catalog.json", cases)
    assert run(tmp_path / "catalog.json", cases, fresh=True)[1] == [case.id for case in cases]


def test_new_cases_are_added_and_others_stay_known(cases, tmp_path):
    run(tmp_path / "catalog.json", cases[:2])
    assert run(tmp_path / "catalog.json", cases[2:])[1] == ["2", "3", "4", "5"]
    assert run(tmp_path / "catalog.json", cases)[1] == []


def test_a_dataset_that_is_moved_with_its_catalogue_stays_known(tmp_path):
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    run(home / "catalog.json", make_cases(home / "data", 2))
    shutil.copytree(home, elsewhere)  # keeps times of change
    moved = [
        Case(
            id=str(number),
            image=elsewhere / "data" / f"{number}.bmp",
            mask=elsewhere / "data" / f"{number}.png",
            patient="",
            institution="",
            part="train",
        )
        for number in range(2)
    ]
    assert run(elsewhere / "catalog.json", moved)[1] == []


def test_unreadable_files_are_tried_again(cases, tmp_path):
    cases[1].image.write_bytes(b"not an image")
    cases[4].mask.unlink()
    for _ in range(2):
        seen, opened = run(tmp_path / "catalog.json", cases)
        assert {"1", "4"} <= set(opened)
        assert [note.kind for id in "14" for note in seen[id].notes] == ["unreadable", "unreadable"]
    assert opened == ["1", "4"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: b"\xff\x00 garbage",
        lambda content: b'{"some": "other file"}',
        lambda content: b"[1, 2, 3]",
        lambda content: content.replace(b'"version":"', b'"version":"0'),
        lambda content: content.replace(b'"image_shape"', b'"shape_of_image"'),
    ],
)
def test_a_damaged_catalogue_counts_as_empty_and_is_replaced(cases, tmp_path, damage):
    file = tmp_path / "catalog.json"
    whole, _ = run(file, cases)
    content = file.read_bytes()
    assert damage(content) != content
    file.write_bytes(damage(content))
    seen, opened = run(file, cases)
    assert seen == whole
    assert opened == [case.id for case in cases]
    assert run(file, cases)[1] == []


def test_ctrl_c_keeps_what_was_examined(cases, tmp_path):
    def examine(case):
        if case.id == "3":
            os.kill(os.getpid(), signal.SIGINT)
            stopped.wait(10)  # Ctrl-C is seen while this one is under way
        return examine_picture(case)

    stopped = threading.Event()
    handler = signal.signal(signal.SIGINT, lambda *_: (stopped.set(), signal.default_int_handler(*_)))
    try:
        with pytest.raises(KeyboardInterrupt):
            Catalog(tmp_path / "catalog.json").examine_all(cases, examine, jobs=1)
    finally:
        signal.signal(signal.SIGINT, handler)
    _, opened = run(tmp_path / "catalog.json", cases)
    assert not {"0", "1", "2", "3"} & set(opened)
    assert "5" in opened


def test_work_is_saved_now_and_then(cases, tmp_path, monkeypatch):
    monkeypatch.setattr(_catalog, "_SAVE_EVERY", 0.0)
    file, saved = tmp_path / "catalog.json", threading.Event()

    def examine(case):
        if case.id == "5":  # a kill now would not cost all the others
            for _ in range(1000):
                if file.is_file() and len(json.loads(file.read_bytes())["entries"]) == 5:
                    saved.set()
                    break
                time.sleep(0.01)
        return examine_picture(case)

    Catalog(file).examine_all(cases, examine, jobs=1)
    assert saved.is_set()


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_no_more_than_jobs_images_are_open_at_once(cases, tmp_path, jobs):
    lock, meeting = threading.Lock(), threading.Barrier(jobs)
    active, most = 0, 0

    def examine(case):
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        meeting.wait(10)  # all workers are here together
        with lock:
            active -= 1
        return examine_picture(case)

    Catalog(tmp_path / "catalog.json").examine_all(cases, examine, jobs=jobs)
    assert most == jobs


def test_a_catalogue_shared_by_several_is_never_half_written(cases, tmp_path):
    file = tmp_path / "catalog.json"
    run(file, cases)
    done = threading.Event()

    def work(part):
        for _ in range(15):
            run(file, part, fresh=True)

    def watch():
        looks = 0
        while not done.is_set():
            assert json.loads(file.read_bytes())["entries"]
            looks += 1
        return looks

    with ThreadPoolExecutor(3) as threads:
        watching = threads.submit(watch)
        working = [threads.submit(work, part) for part in (cases[:3], cases[3:])]
        for one in working:
            one.result()
        done.set()
        assert watching.result() > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["catalog.json", "data"]


def test_a_catalogue_that_cannot_be_kept_is_told_not_an_error(cases, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(UserWarning, match="will be examined again"):
        seen, _ = run(tmp_path / "file" / "catalog.json", cases)
    assert len(seen) == len(cases)
