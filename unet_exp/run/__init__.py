"""The run folder: what a run leaves behind, how it is identified, stopped and continued."""
