"""Sweeps: ``python -m unet_exp.train -m ...`` runs every job in a process of its own and can be repeated at any time.

::

    launcher.py   what Hydra calls
    job.py        which jobs there are, and what is to be done with each
    slots.py      who gets which GPUs and how many threads
    process.py    one job's process: started, watched, stopped
    membership.py the same from the job's side
    source.py     where the jobs come from: a list, or a search (unet_exp/search)
    runner.py     the loop: as many jobs at a time as there are slots
    records.py    status.json, sweep.csv, job.json
    display.py    what a person sees
"""
