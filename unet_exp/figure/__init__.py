"""Figures of a run: pure functions from numpy arrays and plain numbers to PNG files."""
