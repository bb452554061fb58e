"""Comparing segmentation runs: intervals, paired tests and verdicts from stored pixel counts, without inference."""
