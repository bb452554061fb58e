"""Experiment trackers: one file per tracker; history.csv is written with or without one."""
