"""Stand-ins for SLURM's commands: shell scripts that note how they are called and answer as they are told."""

import os
from pathlib import Path

_ALL = ("sbatch", "srun", "squeue", "sinfo", "scontrol", "scancel")


class FakeCommands:
    """Scripts in a folder of PATH.

    Args:
        folder: For the scripts, their answers and notes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in _ALL:
            self.answer(name, "")
        self.answer("sbatch", "Submitted batch job 70")
        self.answer("sinfo", "main*|1-00:00:00|4|gpu:a100:4(S:0-1)\nlong|infinite|2|(null)")
        self.path = f"{folder}{os.pathsep}{os.environ['PATH']}"

    def answer(self, name: str, text: str, code: int = 0, stderr: str = "") -> None:
        """Let a command print and exit."""
        (self.folder / f"{name}.answer").write_text(f"{text}\n" if text else "")
        script = self.folder / name
        script.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {self.folder}/calls.txt\nenv > {self.folder}/{name}.env\n'
            f'[ -f "$1" ] && cp "$1" {self.folder}/{name}.script\n'
            f"cat {self.folder}/{name}.answer\nprintf '%s' '{stderr}' >&2\nexit {code}\n"
        )
        script.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        """Arguments of each call of a command."""
        file = self.folder / "calls.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{name} ")]
