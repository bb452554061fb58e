"""The conventions behind every number of metrics.json, in words."""

from typing import Any

from unet_exp.boundary import BoundaryRule, boundary_rule
from unet_exp.calibration import BINS
from unet_exp.data._source import ImageSource
from unet_exp.evaluation_settings import EvaluationSettings
from unet_exp.metric import ISIC_JACCARD_THRESHOLD

_NO_BOUNDARY = "not measured: the outlines of several classes in a mosaic of regions say little"


def conventions(source: ImageSource, settings: EvaluationSettings) -> dict[str, Any]:
    """What the numbers mean, by name: which pixels, which means, which definitions."""
    single = len(source.scored_classes) == 1
    rule = boundary_rule(source, settings.surface_tolerance)
    return {
        "headline": source.headline,
        "scored_classes": [source.class_names[index] for index in source.scored_classes],
        "unlabelled_pixels": "in no count",
        "global": "one confusion matrix over all images, then scores per class, then their mean (BCSS; Dice global of "
        "LiTS)",
        "image": "scores per image, or per volume, then their mean (ISIC; Dice per case of LiTS)",
        "absent_class": "in neither truth nor prediction of an image: counted as absent; "
        + ("scores 1 (ISIC)" if single else "has no score and is left out of means"),
        "missed_class": "in the truth, but nowhere in the prediction of an image: scores 0 and is counted as missed",
        "false_alarm": "in the prediction, but nowhere in the truth of an image: scores 0 and is counted",
        "confusion": "pixels; rows are the truth, columns the prediction",
        "calibration": f"ECE over {BINS} bins of equal width of the confidence in the predicted class, all labelled "
        "pixels pooled; Brier score: squared error "
        + ("of the foreground probability (0 to 1)" if len(source.classes) == 2 else "summed over classes (0 to 2)"),
        **(_single_class() if single else {}),
        **(_thresholds() if len(source.classes) == 2 else {}),
        **(_boundary(rule, single=single) if rule else {"hd95": _NO_BOUNDARY, "surface_dice": _NO_BOUNDARY}),
        "intervals": f"{settings.level:.0%} bootstrap intervals ({settings.method}) of {settings.draws} resamples, in "
        "which whole clusters (bootstrap.cluster_by) are drawn with replacement and their stored counts added up",
    }


def _single_class() -> dict[str, str]:
    return {
        "jaccard_065": f"IoU of an image, 0 below {ISIC_JACCARD_THRESHOLD} (ISIC 2018)",
    }


def _thresholds() -> dict[str, str]:
    return {
        "thresholds": "a pixel is foreground if its probability is above the threshold; dice: mean over images (1 if "
        "nothing is there and nothing predicted); global_dice, precision, recall: all pixels together",
    }


def _boundary(rule: BoundaryRule, *, single: bool) -> dict[str, str]:
    whole = "volume" if rule.is_of_volumes else "image"
    grid = "with the voxel sizes of the file's header" if rule.is_of_volumes else f"a pixel is {rule.spacing:g} wide"
    both = "0 and 1" if single else "none of either, left out of the mean"
    return {
        "hd95": f"in {rule.unit}, {grid}; per {whole}, MONAI's definition: the larger of the two directed 95th "
        f"percentiles of the distances between boundaries; the diagonal of the {whole} if the structure is missed or a "
        "false alarm",
        "surface_dice": f"share of both boundaries within {rule.tolerance:g} {rule.unit} of the other, whole pixels "
        "(MONAI, use_subvoxels=False); 0 if the structure is missed or a false alarm",
        "boundary_of_absent": f"hd95 and surface_dice where the structure is in neither truth nor prediction: {both}",
    }
