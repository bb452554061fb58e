"""Losses: one file per loss, each a function with the maths and a module that conf/loss names."""
