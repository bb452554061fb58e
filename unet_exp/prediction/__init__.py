"""Predicting files with trained networks: from pictures, volumes and slides to masks, outlines and areas."""
