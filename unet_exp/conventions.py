"""The conventions behind every number of metrics.json, in words."""

from typing import Any

from unet_exp.calibration import BINS
from unet_exp.data._source import ImageSource
from unet_exp.evaluation_settings import EvaluationSettings
from unet_exp.metric import ISIC_JACCARD_THRESHOLD
from unet_exp.observation import BoundaryRule, boundary_rule


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
        "absent_class": "excluded from means and counted; an image without the single scored class is 1 if none "
        "is predicted",
        "missed_class": "in the truth, but nowhere in the prediction of an image: scores 0 and is counted as missed",
        "false_alarm": "in the prediction, but nowhere in the truth of an image: scores 0 and is counted",
        "confusion": "pixels; rows are the truth, columns the prediction",
        "calibration": f"ECE over {BINS} bins of equal width of the confidence in the predicted class, all labelled "
        "pixels pooled; Brier score: squared error "
        + ("of the foreground probability (0 to 1)" if len(source.classes) == 2 else "summed over classes (0 to 2)"),
        **(_single_class() if single else {}),
        **(_boundary(rule) if rule else {}),
    }


def _single_class() -> dict[str, str]:
    return {
        "jaccard_065": f"IoU of an image, 0 below {ISIC_JACCARD_THRESHOLD} (ISIC 2018)",
    }


def _boundary(rule: BoundaryRule) -> dict[str, str]:
    return {
        "hd95": f"in {rule.unit}; MONAI's definition: the larger of the two directed 95th percentiles; 0 if truth and "
        "prediction are both empty, the diagonal of the image if one of them is",
        "surface_dice": f"share of both boundaries within {rule.tolerance:g} {rule.unit} of the other, whole pixels "
        "(MONAI, use_subvoxels=False); 1 if both masks are empty, 0 if one of them is",
    }
