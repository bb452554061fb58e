"""Augmentations for albumentations pipelines; see conf/augmentation."""
