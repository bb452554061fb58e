"""``python -m unet_exp.predict``: the masks that scoring sees, every kind of file, clear refusals, nothing lost."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests import fake
from tests.prediction.slides import write_pyramid
from tests.runs import run, tiny
from unet_exp import predict
from unet_exp.build import build_datamodule, build_task
from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.errors import DataError
from unet_exp.evaluation import load_weights
from unet_exp.prediction import session
from unet_exp.prediction.opening import open_image


@pytest.fixture(scope="module")
def bcss_runs(bcss_root, tmp_path_factory):
    output = tmp_path_factory.mktemp("outputs")
    return [run(tiny(bcss_root, output, f"seed={seed}", "trainer.max_epochs=1")) for seed in (0, 1)]


@pytest.fixture(scope="module")
def isic_run(isic_root, tmp_path_factory):
    return run(tiny(isic_root, tmp_path_factory.mktemp("outputs"), data="isic2017"))


def predict_files(*arguments, **keys):
    predict.main([str(a) for a in arguments] + [f"{key}={value}" for key, value in keys.items()])


def fails(capsys, *arguments, **keys) -> str:
    with pytest.raises(SystemExit) as caught:
        predict_files(*arguments, **keys)
    assert caught.value.code == 1
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    return captured[captured.index("error: ") :]


def scored_labels(folder, root, data, part, **overrides):
    """What `evaluate` counts, by the name of the image."""
    config = check_train_config(compose_config("train", tiny(root, folder.path.parent, data=data)))
    datamodule = build_datamodule(config)
    datamodule.prepare_data()
    task = build_task(config, datamodule.source, {})
    load_weights(task, folder.checkpoint("best"))
    task.eval()
    cases = datamodule.split.cases(part)
    labels = {}
    with torch.no_grad():
        for batch in datamodule.evaluation_dataloader(part):
            for sample in batch:
                logits = task.resize(task(sample["image"][None]), sample["mask"].shape)
                labels[cases[sample["index"]].image] = task.classify(logits)[0].numpy()
    return labels


@pytest.mark.parametrize("data", ["bcss", "isic2017"])
def test_masks_are_those_that_scoring_sees(data, bcss_runs, isic_run, bcss_root, isic_root, tmp_path):
    folder, root = (bcss_runs[0], bcss_root) if data == "bcss" else (isic_run, isic_root)
    for image, expected in scored_labels(folder, root, data, "val").items():
        predict_files(run=folder.path, input=image, output=tmp_path / image.stem, input_mpp="0.5")
        with Image.open(tmp_path / image.stem / f"{image.stem}.labels.png") as file:
            assert file.mode == "P"
            labels = np.asarray(file)
        assert labels.shape == expected.shape
        assert (labels == expected).mean() > 0.999  # ties of float arithmetic


def test_a_folder_becomes_masks_overlays_and_areas(isic_run, isic_root, tmp_path):
    images = sorted((isic_root / "ISIC-2017_Validation_Data").glob("*.jpg"))
    predict_files(run=isic_run.path, input=f"{images[0].parent}/*.jpg", output=tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {f"{image.stem}.labels.png" for image in images} < names
    assert {"areas.csv", "predictions.jsonl"} < names
    assert len([name for name in names if ".overlay." in name]) == len(images)
    rows = list(csv.DictReader((tmp_path / "out" / "areas.csv").open()))
    assert [row["image"] for row in rows if row["class"] == "lesion"] == [image.stem for image in images]
    labels = np.asarray(Image.open(tmp_path / "out" / f"{images[0].stem}.labels.png"))
    assert int(rows[1]["pixels"]) == np.count_nonzero(labels == 1)
    assert not rows[1]["area_mm2"]  # photographs do not say how large a pixel is


def test_a_finished_folder_is_not_touched_unless_told_and_then_only_completed(isic_run, isic_root, tmp_path, capsys):
    folder, output = isic_root / "ISIC-2017_Validation_Data", tmp_path / "out"
    predict_files(run=isic_run.path, input=f"{folder}/*.jpg", output=output)
    assert "continue=true" in fails(capsys, run=isic_run.path, input=f"{folder}/*.jpg", output=output)
    before = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    lost = next(path for path in output.iterdir() if path.name.endswith("labels.png"))
    lost.unlink()
    with (output / "predictions.jsonl").open("a") as file:
        file.write('{"name": "cut of')
    predict_files("continue=true", run=isic_run.path, input=f"{folder}/*.jpg", output=output)
    after = {path.name: path.stat().st_mtime_ns for path in output.iterdir()}
    assert after.keys() == before.keys()
    kept = [name for name in before if not name.startswith(lost.name.split(".")[0])]
    assert [name for name in kept if before[name] != after[name] and ".labels." in name] == []
    assert "2 images, finished before" in capsys.readouterr().out
    predict_files("continue=true", run=isic_run.path, input=f"{folder}/*.jpg", output=output)
    assert "3 images, finished before" in capsys.readouterr().out
    rows = list(csv.DictReader((output / "areas.csv").open()))
    assert len(rows) == 2 * 3
    message = fails(capsys, "continue=true", "inference.tta=d4", run=isic_run.path, input=folder, output=output)
    assert "other settings" in message


def test_a_damaged_file_is_named_and_the_others_are_predicted(isic_run, isic_root, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for image in sorted((isic_root / "ISIC-2017_Validation_Data").glob("*.jpg")):
        (folder / image.name).write_bytes(image.read_bytes())
    damaged = sorted(folder.iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:200])
    message = fails(capsys, run=isic_run.path, input=folder, output=tmp_path / "out")
    assert "1 image of 3 could not be predicted" in message
    assert damaged.name in message
    assert len(list((tmp_path / "out").glob("*.labels.png"))) == 2
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_weights_of_another_network_are_told_by_their_first_difference(isic_run, isic_root, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(isic_run.path, copy)
    torch.save({"state_dict": {"network.of.another": torch.zeros(1)}}, copy / "checkpoints" / "best.ckpt")
    message = fails(capsys, run=copy, input=isic_root / "ISIC-2017_Validation_Data", output=tmp_path / "out")
    assert f"{copy / 'checkpoints' / 'best.ckpt'} cannot be loaded into this network: Missing key(s)" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["inference=halo", "inference.window_size=64", "inference.halo=8"]])
def test_a_slide_becomes_outlines_and_a_pyramid_at_the_resolution_of_the_run(bcss_runs, tmp_path, options):
    slide = tmp_path / "slide.tif"
    write_pyramid(slide, (600, 800), mpp=0.25)
    predict_files(*options, run=bcss_runs[0].path, input=slide, output=tmp_path / "out")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"slide.ome.tif", "slide.geojson", "areas.csv", "predictions.jsonl"}
    import tifffile

    with tifffile.TiffFile(tmp_path / "out" / "slide.ome.tif") as file:
        labels = file.series[0].levels[0].asarray()
    assert labels.shape == (300, 400)  # 0.25 µm per pixel, the run's are 0.5
    rows = list(csv.DictReader((tmp_path / "out" / "areas.csv").open()))
    total = sum(float(row["area_mm2"]) for row in rows)
    assert total == pytest.approx(600 * 800 * 0.25**2 / 1e6)
    outlines = json.loads((tmp_path / "out" / "slide.geojson").read_text())
    corners = [np.asarray(ring) for f in outlines["features"] for ring in f["geometry"]["coordinates"]]
    assert max(ring[:, 0].max() for ring in corners) == pytest.approx(800)
    assert max(ring[:, 1].max() for ring in corners) == pytest.approx(600)


def test_several_runs_are_averaged(bcss_runs, bcss_root, tmp_path):
    image = next((bcss_root / "images").iterdir())
    one, other = (folder.path for folder in bcss_runs)
    maps = []
    for number, runs in enumerate((one, other, f"[{one},{other}]")):
        output = tmp_path / str(number)
        # One run blends logits, several blend probabilities: here nothing overlaps.
        options = ("save=[probabilities,labels]", "inference.overlap=0", "inference.blend=crop")
        predict_files(*options, run=runs, input=image, output=output, input_mpp=0.5)
        import tifffile

        maps.append(tifffile.imread(next(output.glob("*.probabilities.tif"))).astype(np.float32))
    np.testing.assert_allclose(maps[2], (maps[0] + maps[1]) / 2, atol=2e-3)
    labels = np.asarray(Image.open(next((tmp_path / "2").glob("*.labels.png"))))
    sure = np.sort(maps[2], 0)
    sure = sure[-1] - sure[-2] > 1e-2
    np.testing.assert_array_equal(labels[sure], maps[2].argmax(0)[sure])


def test_networks_of_different_tasks_are_not_averaged(bcss_runs, isic_run, bcss_root, tmp_path, capsys):
    runs = f"[{bcss_runs[0].path},{isic_run.path}]"
    assert "cannot be averaged" in fails(capsys, run=runs, input=bcss_root / "images", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_volume_becomes_a_mask_of_its_own_geometry(tmp_path):
    import nibabel

    root = fake.lits(tmp_path / "lits")
    overrides = [o for o in tiny(root, tmp_path / "runs", data="lits") if not o.startswith("data.image_size")] + [
        "data.patch_size=32",
        "data.patches_per_epoch=8",
        "augmentation=light",
        "trainer.max_epochs=1",
    ]
    folder = run(overrides)
    volume = sorted(root.rglob("volume-1*"))[0]
    predict_files(run=folder.path, input=volume, output=tmp_path / "out")
    before, after = nibabel.load(volume), nibabel.load(tmp_path / "out" / "volume-1.labels.nii.gz")
    assert after.shape == before.shape
    np.testing.assert_allclose(after.affine, before.affine)
    rows = list(csv.DictReader((tmp_path / "out" / "areas.csv").open()))
    assert sum(int(row["voxels"]) for row in rows) == np.prod(before.shape)


WRONG = {
    "no such run": (["run=nowhere", "input=.", "output=out"], "nowhere is not a run folder"),
    "no such image": (["run={run}", "input=nothing/*.png", "output=out"], "nothing/*.png"),
    "unknown resolution": (["run={run}", "input={image}", "output=out"], "input_mpp="),
    "no such device": (["run={run}", "input={image}", "output=out", "device=gpuu"], "device: 'gpuu'"),
    "no such way": (["run={run}", "input={image}", "output=out", "inference=hallo"], "Did you mean 'halo'?"),
    "wrong value": (["run={run}", "input={image}", "output=out", "inference.tta=d5"], "inference.tta: "),
    "halo too wide": (
        ["run={run}", "input={image}", "output=out", "inference=halo", "inference.window_size=64"],
        "inference: window_size is 64",
    ),
    "checkpoint": (["run={run}", "input={image}", "output=out", "checkpoint=bets"], "checkpoint: "),
    "both": (["run={run}", "bundle=x", "input={image}", "output=out"], "give one of them"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_clear_message_and_leaves_nothing(name, bcss_runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 40), "pink").save(tmp_path / "image.png")
    arguments, expected = WRONG[name]
    filled = [a.format(run=bcss_runs[0].path, image=tmp_path / "image.png") for a in arguments]
    assert expected in fails(capsys, *filled)
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_images_of_one_name_in_two_folders_do_not_meet(isic_run, isic_root, tmp_path):
    image = next((isic_root / "ISIC-2017_Validation_Data").glob("*.jpg"))
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        (tmp_path / "in" / folder / "same.jpg").write_bytes(image.read_bytes())
    with Image.open(image) as picture:
        picture.save(tmp_path / "in" / "b" / "same.png")
    predict_files("save=[labels]", run=isic_run.path, input=f"{tmp_path}/in/*/same.*", output=tmp_path / "out")
    made = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png")}
    assert made == {"a/same.labels.png", "b/same.jpg.labels.png", "b/same.png.labels.png"}


class Unreadable:
    """A file that is damaged in its middle."""

    def __init__(self, shape):
        self.shape = shape

    def read(self, top, left, height, width):
        raise DataError("damaged near row 0")


def test_images_predicted_anew_are_not_dropped_when_another_breaks_off(
    isic_run, isic_root, tmp_path, capsys, monkeypatch
):
    images, output = f"{isic_root}/ISIC-2017_Validation_Data/*.jpg", tmp_path / "out"
    predict_files("save=[labels]", run=isic_run.path, input=images, output=output)
    masks = sorted(output.glob("*.labels.png"))
    for mask in masks:
        mask.unlink()

    def opened(path, *arguments, **keys):
        image = open_image(path, *arguments, **keys)
        if masks[0].name.startswith(path.stem):
            image.reader = Unreadable(image.reader.shape)
        return image

    monkeypatch.setattr(session, "open_image", opened)
    arguments = ("continue=true", "save=[labels]", "inference.batch_size=1")
    assert "1 image of 3" in fails(capsys, *arguments, run=isic_run.path, input=images, output=output)
    assert sorted(output.glob("*.labels.png")) == masks[1:]
