"""Hyperparameter search: with ``-m hydra/sweeper=optuna`` Optuna chooses the jobs of a sweep, one after the other.

::

    sweeper.py    what Hydra calls
    settings.py   the keys hydra.sweeper.*
    space.py      what is searched, from Hydra's grammar
    check.py      what is wrong with it, before anything runs
    journal.py    the file that remembers every trial, whatever is killed
    study.py      the trials: asked for, told, shared with other launches
    source.py     trials as jobs of the loop of sweeps (unet_exp/sweep/runner.py)
    session.py    one launch, from the space to the result
    result.py     search.csv, the best trial, what mattered
"""
