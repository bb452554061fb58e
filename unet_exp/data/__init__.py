"""Datasets, one file each, and the engine that serves them (with an underscore)."""
