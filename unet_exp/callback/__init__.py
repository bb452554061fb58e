"""Callbacks: those every run has (with an underscore) and those a user chooses."""
