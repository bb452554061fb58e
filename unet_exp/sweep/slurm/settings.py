"""The keys `hydra.launcher.*` of conf/hydra/launcher/slurm.yaml."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unet_exp.bounds import NonNegativeInt, PositiveFloat, PositiveInt
from unet_exp.errors import counted


@dataclass(frozen=True, kw_only=True)
class SlurmSettings:
    """What each job asks SLURM for, and how the jobs are submitted.

    Args:
        partition: None: the default one.
        account: None: your default one.
        qos: Quality of service, None: the default one.
        constraint: Features that the nodes must have.
        nodes: Nodes of each job.
        gpus_per_node: GPUs on each node; None or 0: none.
        tasks_per_node: Processes on each node, one for each device of the trainer.
        cpus_per_task: CPU cores of each process, its data workers included.
        mem_gb: Memory on each node in GiB; None: what the partition gives.
        timeout_min: Time limit in minutes. A job that needs longer is requeued and continues.
        signal_delay_s: Seconds before the time limit at which the job saves its state.
        requeues: So many times a job is requeued because of the time limit.
        array: Submit all jobs as one array, else each by itself.
        array_parallelism: Jobs of an array that may run at a time.
        setup: Shell lines before the job, such as ``module load cuda``.
        additional_parameters: Further options of sbatch, for example ``{nice: 100}``.
        wait: Watch the jobs until they have ended, else only submit them.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodes: PositiveInt = 1
    gpus_per_node: NonNegativeInt | None = None
    tasks_per_node: PositiveInt = 1
    cpus_per_task: PositiveInt = 4
    mem_gb: PositiveFloat | None = None
    timeout_min: PositiveInt = 720
    signal_delay_s: PositiveInt = 120
    requeues: NonNegativeInt = 10
    array: bool = True
    array_parallelism: PositiveInt = 256
    setup: Sequence[str] = ()
    additional_parameters: Mapping[str, Any] = field(default_factory=dict)
    wait: bool = True

    @property
    def tasks(self) -> int:
        """Processes of each job."""
        return self.nodes * self.tasks_per_node

    @property
    def summary(self) -> str:
        """What each job gets, in words."""
        parts = [counted(self.nodes, "node")]
        if self.gpus_per_node:
            parts.append(f"{counted(self.gpus_per_node, 'GPU')} on each")
        parts.append(f"{counted(self.tasks, 'task')} with {counted(self.cpus_per_task, 'CPU core')} each")
        parts.append(f"{self.timeout_min} min")
        return ", ".join(parts)

    def sbatch_parameters(self, name: str) -> dict[str, Any]:
        """The options of sbatch, as submitit names them.

        Args:
            name: Name of the jobs in SLURM's lists.
        """
        return {
            "job_name": name,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "nodes": self.nodes,
            "gpus_per_node": self.gpus_per_node or None,
            "ntasks_per_node": self.tasks_per_node,
            "cpus_per_task": self.cpus_per_task,
            "mem": f"{round(self.mem_gb * 1024)}M" if self.mem_gb else None,
            "time": self.timeout_min,
            "signal_delay_s": self.signal_delay_s,
            "array_parallelism": self.array_parallelism,
            "setup": list(self.setup) or None,
            "wckey": None,
            "stderr_to_stdout": True,
            # A rank that dies ends the job. Since 22.05 srun does not take the CPUs of a task from sbatch.
            "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={self.cpus_per_task}"],
            "additional_parameters": {"requeue": True, **self.additional_parameters},
        }
