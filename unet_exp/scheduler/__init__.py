"""Learning-rate schedules, one file each; all are stepped after every optimiser step."""
