"""Sweeps whose jobs run under SLURM: ``hydra/launcher=slurm``.

::

    launcher.py    what Hydra calls
    settings.py    the keys of conf/hydra/launcher/slurm.yaml
    preflight.py   do they fit the trainer and the cluster?
    commands.py    squeue, sinfo, scancel, scontrol
    submission.py  jobs become an array
    runner.py      submits what is not finished, watches it
    task.py        what each task does before it becomes a training
    membership.py  the same from the training's side: warning signal, requeueing
"""
