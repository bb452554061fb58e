"""Bundles: folders with a trained network that runs without this package's training code, or without this package."""
