"""The model card says what the run says."""

import pytest

from unet_exp.bundle.card import Training, model_card
from unet_exp.bundle.manifest import read_manifest
from unet_exp.instantiate import build


@pytest.fixture(scope="module")
def card(torch_export_bundle):
    return (torch_export_bundle / "README.md").read_text()


def test_scores_are_those_of_the_test_part_with_their_intervals(card, isic_run):
    scores = isic_run.metrics()["test"]
    low, high = scores["intervals"]["dice"]
    assert f"| Dice | {scores['dice']:.3f} | {low:.3f} to {high:.3f} |" in card
    assert f"On the test part of isic2017, {scores['images']:.0f} images." in card
    assert "Intervals: 95 %, by a bootstrap that draws from" in card
    assert "chosen by these very images" not in card
    assert isic_run.metrics()["conventions"]["global"] in card


def test_data_split_settings_and_licence(card, isic_run):
    split = isic_run.split()
    assert f"`{split['hash']}`" in card
    counts = f"{len(split['train'])} training cases, {len(split['val'])} validation cases, {len(split['test'])} test"
    assert counts in card
    assert "stretched to 32 rows and 32 columns" in card
    assert "| 1 | lesion | #ff7f0e | yes |" in card
    assert "AdamW(lr=" in card
    assert "ExponentialMovingAverage(decay=" in card
    assert "CC-0 or CC-BY-NC" in card
    assert "not a medical device" in card
    assert "logits differ by" in card


def render(torch_export_bundle, isic_run, metrics, **data):
    manifest, _ = read_manifest(torch_export_bundle)
    config = isic_run.config()
    config = {**config, "data": {**config["data"], **data}}
    training = Training(config=config, metrics=metrics, split=isic_run.split())
    return model_card(manifest, build(config, "data"), training, "mine")


def test_validation_scores_are_marked_as_flattering(torch_export_bundle, isic_run):
    metrics = {name: value for name, value in isic_run.metrics().items() if name != "test"}
    text = render(torch_export_bundle, isic_run, metrics)
    assert "On the validation part" in text
    assert "chosen by these very images" in text


def test_without_scores_none_are_shown(torch_export_bundle, isic_run):
    text = render(torch_export_bundle, isic_run, {})
    assert "This checkpoint was not scored" in text
    assert "| Dice |" not in text


def test_an_unknown_dataset_has_an_unknown_licence(torch_export_bundle, isic_run):
    folder = {"_target_": "unet_exp.data.folder.Folder", "classes": isic_run.config()["data"]["classes"]}
    config = isic_run.config()
    kept = {k: v for k, v in config["data"].items() if k not in ("year", "url")}
    manifest, _ = read_manifest(torch_export_bundle)
    source = build({"data": {**kept, **folder, "images": "a", "masks": "b"}}, "data")
    text = model_card(manifest, source, Training(config=config, metrics={}, split={}), "mine")
    assert "does not know the licence" in text
    assert "unknown" in text
