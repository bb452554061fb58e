"""From the configuration of a run to what its network expects."""

import json

import pytest

from unet_exp.check import check_train_config
from unet_exp.config import compose_config
from unet_exp.errors import UserError
from unet_exp.instantiate import build
from unet_exp.prediction.description import ModelDescription
from unet_exp.prediction.description_of_run import describe_run


def describe(*overrides: str, name: str = "unet-bcss-0a1b2c3d", **changes) -> ModelDescription:
    config = check_train_config(compose_config("train", list(overrides)))
    return describe_run({**config, **changes}, build(config, "data"), name)


def test_patches_have_a_resolution_a_stain_and_windows():
    found = describe("data=bcss", "data.mpp=0.5", "data.patch_size=192", "data.stain=macenko", "inference.tta=flips")
    assert (found.mpp, found.stain, found.image_size, found.slices) == (0.5, "macenko", None, None)
    assert found.class_names == ["tumor", "stroma", "inflammatory", "necrosis", "other"]
    assert found.num_outputs == 5
    assert found.palette[0] == (228, 26, 28)
    assert found.scored_classes == [0, 1, 2, 3, 4]
    assert found.mean == [0.70, 0.55, 0.69]
    assert found.inference["window_size"] == 192
    assert found.inference["tta"] == "flips"
    assert not any(key.startswith("_") for key in found.inference)


def test_patches_without_a_known_pixel_size():
    assert describe("data=bcss", "data.mpp=null", "data.score_mpp=null").mpp is None


def test_whole_images_have_a_size():
    found = describe("data=isic2017", "data.image_size=[96,128]")
    assert (found.image_size, found.mpp, found.num_outputs) == ((96, 128), None, 1)
    assert found.background_classes == [0]
    assert found.inference["window_size"] is None


def test_volumes_have_slices_and_a_window_and_statistics_for_each_slice():
    found = describe("data=lits", "augmentation=light")
    assert (found.slices, found.in_channels, found.intensity_window) == (5, 5, (-200.0, 200.0))
    assert found.mean == [0.4] * 5


@pytest.mark.parametrize(
    "name", ["improved_unet_isensee-isic2017-0d10df2f", "improved_unet_isensee-isic2017-0d10df2f-2"]
)
def test_the_hash_of_the_folder_is_no_part_of_the_name(name):
    assert describe("data=isic2017", name=name).name == "improved_unet_isensee-isic2017"


def test_a_folder_that_was_renamed_is_taken_as_it_is():
    assert describe("data=isic2017", name="my best").name == "my best"


def test_it_survives_json():
    for data in ("data=bcss", "data=isic2017", "data=lits"):
        found = describe(data, "augmentation=light")
        again = ModelDescription.from_dict(json.loads(json.dumps(found.to_dict())), "here")
        assert again.same_task(found)
        assert again.to_dict() == found.to_dict()


def test_surroundings_that_the_network_needs_are_described():
    assert describe("data=bcss", "model=ctx_resunet").inference["surroundings"] == 384
    assert describe("data=bcss").inference["surroundings"] == 0


def test_an_engine_of_ones_own_is_refused():
    with pytest.raises(UserError, match=r"predicts with mine\.Engine"):
        describe("data=bcss", inference={"_target_": "mine.Engine"})
