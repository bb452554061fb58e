"""Which process of a distributed training is this, before torch.distributed knows?"""

import os


def is_first_process() -> bool:
    """Whether this process writes files; the launchers (Lightning, torchrun, srun) tell by the environment."""
    for variable in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        if variable in os.environ:
            return int(os.environ[variable]) == 0
    return True
