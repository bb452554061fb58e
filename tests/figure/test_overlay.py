import numpy as np
import pytest

from unet_exp.figure.overlay import overlay

PALETTE = [(0, 0, 0), (200, 0, 0), (0, 0, 200)]
IMAGE = np.full((30, 40, 3), 100, np.uint8)


def labels(left: int, right: int) -> np.ndarray:
    """Two halves that meet between the columns 19 and 20."""
    ids = np.full((30, 40), left, np.uint8)
    ids[:, 20:] = right
    return ids


def tint(ids, **options):
    return overlay(IMAGE, ids, palette=PALETTE, ignore_index=255, **options)


def test_a_class_is_blended_with_the_given_opacity():
    picture = tint(labels(1, 2), opacity=0.25)
    assert tuple(picture[5, 5]) == (125, 75, 75)
    assert tuple(picture[5, 35]) == (75, 75, 125)


def test_both_sides_of_a_border_have_their_full_colour():
    picture = tint(labels(1, 2))
    assert (picture[:, 19] == (200, 0, 0)).all()
    assert (picture[:, 20] == (0, 0, 200)).all()
    assert not (picture[:, 18] == (200, 0, 0)).all()


def test_a_hidden_class_is_left_as_it_is():
    picture = tint(labels(0, 1), hide=[0])
    assert (picture[:, :20] == IMAGE[:, :20]).all()
    assert (picture[:, 20] == (200, 0, 0)).all()
    assert tuple(tint(labels(0, 1))[5, 5]) == (60, 60, 60)


def test_ignored_pixels_are_grey_and_hatched():
    ignored = tint(labels(1, 255))[:, 20:]
    assert (ignored == ignored[..., :1]).all()
    assert len(np.unique(ignored)) == 2
    assert (ignored != IMAGE[:, 20:]).all()


def test_the_input_is_not_changed():
    ids = labels(1, 255)
    tint(ids)
    assert (IMAGE == 100).all()
    assert (ids == labels(1, 255)).all()


def test_an_image_without_any_label_is_drawn():
    assert tint(labels(255, 255)).shape == IMAGE.shape


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="differ in size"):
        tint(np.zeros((30, 41), np.uint8))


def test_an_id_without_a_colour_is_an_error():
    with pytest.raises(ValueError, match="class id 3 has no colour"):
        tint(labels(1, 3))
