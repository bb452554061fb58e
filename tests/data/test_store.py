"""The store holds what the files hold, is built once, and is never used when damaged or stale."""

import hashlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import fake
from tests.conftest import REAL_DATA
from unet_exp.build import build_datamodule
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.data._collection import open_collection
from unet_exp.data._convert import LOCATIONS_PER_CLASS, sample_locations
from unet_exp.data._store import IMAGES, INDEX, LABELS, LOCATIONS, DamagedStoreError, Store
from unet_exp.errors import DataError


def datamodule(root, store, *overrides, data="bcss"):
    small = ["data.patch_size=32", "data.patches_per_epoch=16"] if data == "bcss" else ["data.image_size=32"]
    common = [f"data={data}", f"data.root={root}", f"store_folder={store}", "augmentation=none", *small]
    common += ["loader.num_workers=0", "loader.batch_size=4"]
    return build_datamodule(check_train_config(compose_config("train", [*common, *overrides])))


def silent(text):
    """Nobody listens."""


def collect(root, store, *overrides, data="bcss", tell=silent):
    return open_collection(datamodule(root, store, *overrides, data=data).source, Path(store), jobs=2, tell=tell)


def digest(loader) -> str:
    batches = []
    for epoch in range(2):
        loader.batch_sampler.sampler.set_epoch(epoch)
        batches += [b["image"].numpy().tobytes() + b["mask"].numpy().tobytes() for b in loader]
    joined = "".join(hashlib.sha256(batch).hexdigest() for batch in batches)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("data", "augmentation", "expected"),
    [
        ("bcss", "none", "afd54c2eb945c08b"),
        ("bcss", "light", "0ed9e46c87dacb82"),
        ("isic2017", "none", "1c4a07515fb8543c"),
        ("isic2017", "light", "91c298f3b2971452"),
    ],
)
def test_batches_are_those_of_the_version_that_read_the_files(data, augmentation, expected, tmp_path):
    """Recorded with commit dccce21, which kept decoded images in memory."""
    root = fake.MAKERS[data](tmp_path / "data")
    everywhere = ["data.balance=none"] if data == "bcss" else []  # as that version drew
    built = datamodule(root, tmp_path / "store", f"augmentation={augmentation}", *everywhere, data=data)
    assert digest(built.train_dataloader()) == expected


@pytest.mark.skipif(not (REAL_DATA / "bcss").is_dir(), reason="the shared BCSS regions are not here")
def test_batches_of_real_regions_are_those_of_the_version_that_read_the_files(tmp_path):
    """Recorded with commit dccce21; a hash, nothing of the images."""
    overrides = ["data.mpp=1.2", "data.patch_size=128", "data.patches_per_epoch=32", "loader.batch_size=8"]
    overrides += ["data.balance=none"]
    loader = datamodule(REAL_DATA / "bcss", tmp_path / "store", *overrides).train_dataloader()
    batches = [b["image"].numpy().tobytes() + b["mask"].numpy().tobytes() for b in loader]
    joined = "".join(hashlib.sha256(batch).hexdigest() for batch in batches)
    joined_hash = hashlib.sha256(joined.encode()).hexdigest()[:16]
    assert joined_hash == "9747237406c60ced"


@pytest.mark.parametrize("data", ["bcss", "isic2017", "folder"])
def test_the_store_holds_what_the_files_hold(data, tmp_path):
    root = fake.MAKERS[data](tmp_path / "data")
    built = datamodule(root, tmp_path / "store", data=data)
    assert len(built.collection.store) == len(built.collection.cases) > 3
    for case in built.collection.cases:
        image, labels = built.source.read_training(case)
        stored = built.collection.store[case.id]
        assert np.array_equal(stored.image, image)
        assert np.array_equal(stored.labels, labels)
        assert list(stored.class_pixels) == [np.count_nonzero(labels == k) for k in range(len(built.source.classes))]
        for class_id, positions in enumerate(stored.locations):
            assert len(positions) == min(stored.class_pixels[class_id], LOCATIONS_PER_CLASS)
            assert (labels[tuple(positions.T)] == class_id).all()
            assert len(np.unique(positions, axis=0)) == len(positions)


def test_locations_are_spread_over_all_pixels_of_a_class():
    labels = np.zeros((300, 200), np.uint8)
    labels[:, 100:] = 1
    positions = sample_locations(labels, 1, np.random.default_rng(0))
    assert len(positions) == LOCATIONS_PER_CLASS
    assert abs(positions[:, 0].mean() - 149.5) < 10  # standard error of a uniform sample: 2.7
    assert abs(positions[:, 1].mean() - 149.5) < 4  # 0.9
    assert sample_locations(labels, 2, np.random.default_rng(0)).shape == (0, 2)


def test_the_index_tells_who_each_case_is(bcss_root, tmp_path):
    entry = collect(bcss_root, tmp_path).store.entries["TCGA-A2-A000-DX1_xmin0_ymin7_MPP-0.5000"]
    assert (entry.patient, entry.institution, entry.mpp) == ("TCGA-A2-A000", "A2", 0.5)
    assert entry.image_shape == (70, 90, 3)


def files_of(store: Store) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in store.folder.iterdir()}


def test_a_second_call_opens_no_picture_and_builds_nothing(bcss_root, tmp_path, monkeypatch):
    before = files_of(collect(bcss_root, tmp_path).store)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("a picture was opened"))
    assert files_of(collect(bcss_root, tmp_path).store) == before


def test_resolutions_live_side_by_side(bcss_root, tmp_path):
    stores = {collect(bcss_root, tmp_path, f"data.mpp={mpp}").store.folder for mpp in (0.5, 1.0)}
    stores |= {collect(bcss_root, tmp_path, "data.ignore_codes=[0]", *other_code(7)).store.folder}
    assert len(stores) == 3
    assert all((folder / INDEX).is_file() for folder in stores)


def other_code(code: int) -> list[str]:
    return [f"data.classes.other.codes=[5,6,{code},8,9,12,13,14,15,16,17,18,21]"]


@pytest.mark.parametrize("changed", ["images", "masks"])
def test_a_changed_file_is_converted_again(changed, tmp_path):
    root = fake.bcss(tmp_path / "data")
    first = collect(root, tmp_path / "store")
    path = next((root / changed).glob("*A2*"))
    pixels = np.asarray(Image.open(path)).copy()
    pixels[:3] = 2
    Image.fromarray(pixels).save(path)
    second = collect(root, tmp_path / "store")
    assert second.store.folder != first.store.folder
    case = next(case for case in second.cases if case.image.name == path.name)
    assert (second.store[case.id].image if changed == "images" else second.store[case.id].labels)[:3].max() <= 2


def test_touched_files_of_the_same_content_keep_the_store(tmp_path):
    root = fake.bcss(tmp_path / "data")
    before = files_of(collect(root, tmp_path / "store").store)
    for path in root.rglob("*.png"):
        os.utime(path, (1, 1))
    assert files_of(collect(root, tmp_path / "store").store) == before


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [flip_byte, truncate, Path.unlink], ids=["flip", "truncate", "unlink"])
@pytest.mark.parametrize("name", [IMAGES, LABELS, LOCATIONS, INDEX])
def test_a_damaged_store_is_told_and_built_again(damage, name, bcss_root, tmp_path):
    built = collect(bcss_root, tmp_path)
    before = {path.name: path.read_bytes() for path in built.store.folder.iterdir() if path.name != INDEX}
    damage(built.store.folder / name)
    told = []
    again = collect(bcss_root, tmp_path, tell=told.append)
    assert any("is damaged" in text for text in told)
    assert {path.name: path.read_bytes() for path in again.store.folder.iterdir() if path.name != INDEX} == before


def test_a_copied_store_is_checked_and_used(bcss_root, tmp_path):
    store = collect(bcss_root, tmp_path).store
    os.utime(store.folder / IMAGES, (1, 1))
    assert len(Store(store.folder, store.key)) == len(store)
    flip_byte(store.folder / IMAGES)
    with pytest.raises(DamagedStoreError, match=r"the pixels of TCGA-.* have changed"):
        Store(store.folder, store.key)


def test_a_store_of_other_content_under_the_right_name_is_not_used(bcss_root, tmp_path):
    right, wrong = (collect(bcss_root, tmp_path, f"data.mpp={mpp}").store.folder for mpp in (0.5, 1.0))
    for path in right.iterdir():
        path.write_bytes((wrong / path.name).read_bytes())
    told = []
    collect(bcss_root, tmp_path, tell=told.append)
    assert "it was made for other content" in "".join(told)


def build_and_report(root, folder, queue) -> None:
    told = []
    store = collect(root, folder, tell=told.append).store
    queue.put((str(store.folder), sum("Converting" in text for text in told)))


@pytest.mark.slow
def test_processes_that_start_together_build_it_once(bcss_root, tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [context.Process(target=build_and_report, args=(bcss_root, tmp_path, queue)) for _ in range(4)]
    for process in processes:
        process.start()
    results = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert len({folder for folder, _ in results}) == 1
    assert sum(count for _, count in results) == 1


def test_a_store_travels_to_other_processes_as_a_path(bcss_root, tmp_path):
    store = collect(bcss_root, tmp_path).store
    _ = store[next(iter(store))]
    travelled = pickle.dumps(store)
    assert len(travelled) < 20_000
    again = pickle.loads(travelled)
    assert all(np.array_equal(store[name].image, again[name].image) for name in store)


def test_workers_that_are_not_forked_get_no_copy_of_the_pixels(tmp_path):
    root = fake.bcss(tmp_path / "data")
    built = datamodule(root, tmp_path / "store", "data.mpp=0.05")
    travelled = pickle.dumps(built.train_dataset)
    assert len(travelled) < 0.01 * built.collection.store.size
    again = pickle.loads(travelled)
    assert np.array_equal(again[1, 3]["image"], built.train_dataset[1, 3]["image"])


def test_opening_does_not_read_the_pixels(bcss_root, tmp_path):
    store = collect(bcss_root, tmp_path).store
    for name in (IMAGES, LABELS):  # unreadable content, same size and time: only reading it would notice
        path = store.folder / name
        stat = path.stat()
        path.write_bytes(bytes(stat.st_size))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert Store(store.folder, store.key)[next(iter(store))].image.max() == 0


def test_samples_cannot_change_the_store(bcss_root, tmp_path):
    built = datamodule(bcss_root, tmp_path)
    stored = built.collection.store[built.split.train[0].id]
    with pytest.raises(ValueError, match="read-only"):
        stored.image[0] = 0
    sample = built.train_dataset[0, 0]
    before = stored.image.copy()
    sample["image"].zero_()
    assert np.array_equal(stored.image, before)


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {repository!r})
from tests.data.test_store import collect
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
collect({root!r}, {store!r}, "data.mpp=0.05")
"""


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_nothing(bcss_root, tmp_path):
    """The kernel refuses to let a file grow beyond a limit, as it does on a full disk or over quota."""
    code = LIMITED.format(
        repository=str(Path(__file__).parents[2]), limit=200_000, root=str(bcss_root), store=str(tmp_path / "store")
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "DataError: The disk of" in done.stderr
    assert "is full" in done.stderr
    assert "store_folder=<folder>" in done.stderr
    left = [path.name for path in (tmp_path / "store").iterdir()]
    assert not [name for name in left if not name.endswith(".lock") and name != "catalog"]


def test_too_little_room_is_told_before_anything_is_written(bcss_root, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"needs 0\.\d+ GB in .*, 0\.00 GB are free.*store_folder=<folder>"):
        collect(bcss_root, tmp_path)
    assert not list(tmp_path.glob("bcss-*"))


def test_the_need_is_stated_beforehand(bcss_root, tmp_path):
    told = []
    store = collect(bcss_root, tmp_path, tell=told.append).store
    assert told[0].startswith("Converting 7 cases of bcss: at most 0.")
    assert "GB are free" in told[0]
    assert store.size <= float(told[0].split("at most ")[1].split(" GB")[0]) * 1e9 + 5e6


def test_content_that_changes_while_it_is_converted_is_noticed(tmp_path, monkeypatch):
    root = fake.bcss(tmp_path / "data")
    built = datamodule(root, tmp_path / "store")
    read = type(built.source).read_training

    def shrunk(self, case):
        image, labels = read(self, case)
        return image[:-1], labels[:-1]

    monkeypatch.setattr(type(built.source), "read_training", shrunk)
    with pytest.raises(DataError, match="has changed while it was being converted"):
        _ = built.collection
    assert not list((tmp_path / "store").glob("bcss-*"))


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_complete_store_or_none(tmp_path):
    """Twenty times: kill -9 at a random moment, then look; in the end the next call completes."""
    root = fake.bcss(tmp_path / "data", institutions=fake.BCSS_INSTITUTIONS)
    command = [sys.executable, "-m", "unet_exp.prepare", "data=bcss", f"data.root={root}", "stage=convert"]
    command += [f"store_folder={tmp_path / 'store'}", "data.mpp=0.02", f"output={tmp_path / 'out'}"]
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    whole = time.monotonic() - started
    moments = np.random.default_rng(0).uniform(0.3 * whole, 1.05 * whole, 20)
    for moment in moments:
        for store in (tmp_path / "store").glob("bcss-*"):
            for path in store.iterdir():
                path.unlink()
            store.rmdir()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for store in (tmp_path / "store").glob("bcss-*"):
            Store(store, store.name.removeprefix("bcss-")).check()
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (store,) = (tmp_path / "store").glob("bcss-*")
    Store(store, store.name.removeprefix("bcss-")).check()
    assert not list((tmp_path / "store").glob(".bcss-*-*"))  # what the killed ones have left is cleared away


def private_bytes() -> int:
    """Memory that this process has written to, which no other one can share."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_Dirty"))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_reading_the_store_takes_no_private_memory(tmp_path):
    root = fake.bcss(tmp_path / "data", institutions=("A2", "AR", "BH"))
    store = collect(root, tmp_path / "store", "data.mpp=0.02").store
    assert store.size > 40e6
    total = sum(int(store[name].image.sum()) for name in list(store)[:1])
    before = private_bytes()
    for name in store:
        total += int(store[name].image[::7, ::7].sum())
    assert total > 0
    assert private_bytes() - before < 0.25 * store.size
