"""A real SLURM on this machine: munged, slurmctld and two slurmd, in a folder and on ports of their own.

python -m tests.cluster.local_slurm    # starts one to play with, and prints how to reach it
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "sinfo", "scancel")
NODES = ("n0", "n1")
_CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldDebug=info
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
KillWait=20
SlurmdTimeout={timeout}
SlurmdParameters=config_overrides
InactiveLimit=0
MinJobAge=300
{nodes}
PartitionName=main Nodes={names} Default=YES MaxTime=60 PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes={names} MaxTime=60 PriorityTier=10 PreemptMode=off
"""


def missing_requirement() -> str | None:
    """Why no SLURM can be started here, None if one can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"needs Debian's slurm-wlm and munge (not found: {', '.join(absent)})"
    return None if os.geteuid() == 0 else "slurmd must run as root"


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class LocalSlurm:
    """Two nodes of a few CPUs each, which are this machine.

    Args:
        folder: For configuration, state and logs; its path must be short, there is a socket in it.
        cpus: CPUs that each node claims to have.
    """

    def __init__(self, folder: Path, cpus: int = 4) -> None:
        self.folder = folder
        self.config = folder / "slurm.conf"
        self.environment = {"SLURM_CONF": str(self.config), "PATH": _path()}
        self._cpus = cpus
        self._processes: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        """Start everything; returns when both nodes are idle."""
        self.folder.chmod(0o755)  # munged insists
        (self.folder / "state").mkdir()
        for node in NODES:
            (self.folder / f"spool-{node}").mkdir()
        self._write_config()
        self._start_munge()
        self._start_program("slurmctld", "slurmctld", "-D", "-f", str(self.config), "-i")
        for node in NODES:
            self.start_node(node)
        self.wait(lambda: self.node_states() == ["idle", "idle"], "the nodes are not idle", 60)

    def stop(self) -> None:
        """End everything that was started."""
        for node in NODES:
            self.kill_node(node, signal.SIGTERM)
        for process in reversed(self._processes.values()):
            _end(process)
        self._processes.clear()

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node."""
        self._start_program(node, "slurmd", "-D", "-N", node, "-f", str(self.config))

    def kill_node(self, node: str, number: int = signal.SIGKILL) -> None:
        """End a node's slurmd and all that it runs, as a power cut would."""
        process = self._processes.pop(node, None)
        if process is None:
            return
        process.send_signal(number)
        process.wait(30)
        steps = self._step_processes(node)
        for pid in [*sorted({parent for _, parent in steps}), *(pid for pid, _ in steps)]:  # who would report it, first
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _step_processes(self, node: str) -> list[tuple[int, int]]:
        """Process and parent of all that jobs run on a node; the parent of the first ones is their slurmstepd."""
        marks = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={self.config}".encode()}
        found = []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and marks <= set((folder / "environ").read_bytes().split(b"\0")):
                    parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                    found.append((int(folder.name), parent))
        return [(pid, parent) for pid, parent in found if parent > 1]

    def run(self, *command: str) -> str:
        """Output of one of SLURM's commands."""
        done = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def start_requeued(self, job: str) -> None:
        """Start a requeued job at once; SLURM lets it wait for two minutes, until its old credential has expired."""
        self.wait(lambda: self.run("squeue", "-h", "-r", "-j", job, "-o", "%T") == "PENDING", f"{job} is not requeued")
        time.sleep(2)  # a credential of the same second as the end of the old one would not be taken
        self.run("scontrol", "update", f"jobid={job}", "StartTime=now")

    def node_states(self) -> list[str]:
        """States of both nodes, as sinfo names them."""
        try:
            return self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split()
        except AssertionError:
            return []

    def wait(self, condition, complaint: str, seconds: float = 120) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{complaint}\n{self.logs()}"
            time.sleep(0.2)

    def logs(self) -> str:
        """The last lines of all logs."""
        return "\n".join(f"== {p.name}\n" + p.read_text()[-1500:] for p in sorted(self.folder.glob("*.log")))

    def _write_config(self) -> None:
        host = socket.gethostname().partition(".")[0]
        ports = _free_ports(1 + len(NODES))
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self._cpus} RealMemory=1000"
            for node, port in zip(NODES, ports[1:], strict=True)
        )
        self.config.write_text(
            _CONFIG.format(
                host=host,
                controller=ports[0],
                folder=self.folder,
                nodes=nodes,
                names=",".join(NODES),
                timeout=10,
            )
        )

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {name: self.folder / f"munge.{name}" for name in ("socket", "pid", "log", "seed")}
        self._start_program(
            "munged",
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--socket={files['socket']}",
            f"--pid-file={files['pid']}",
            f"--log-file={files['log']}",
            f"--seed-file={files['seed']}",
        )
        self.wait(files["socket"].exists, "munged has not started", 20)

    def _start_program(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                env={**os.environ, **self.environment},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(_: Sequence[str] = ()) -> None:
    """Start one, and keep it until Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as temporary:
        slurm = LocalSlurm(Path(temporary))
        try:
            slurm.start()
            print(f"export SLURM_CONF={slurm.config} PATH=$PATH:/usr/sbin\nCtrl-C stops it", flush=True)
            signal.pause()
        except KeyboardInterrupt:
            pass
        finally:
            slurm.stop()


if __name__ == "__main__":
    main()
