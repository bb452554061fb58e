"""What a tracker has been told, kept in a file: a resumed run neither repeats nor skips a step."""

import json
from collections.abc import Iterable
from pathlib import Path


class Progress:
    """Rows and steps logged so far.

    A run that is resumed from a checkpoint passes again through the steps between that checkpoint and the
    crash. They are recognised value by value, since one step may have several rows.

    Args:
        file: Where it is kept, None: nowhere.
        next_row: Number of the next row.
        steps: Last logged step of every value.
    """

    def __init__(self, file: Path | None, next_row: int = 0, steps: dict[str, int] | None = None) -> None:
        self._file = file
        self.next_row = next_row
        self._steps = dict(steps or {})
        self._before = dict(self._steps)

    @classmethod
    def load(cls, file: Path) -> "Progress":
        """Continue what `file` holds, or start anew; a damaged file only costs repeated steps."""
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            return cls(file, int(kept["next_row"]), {str(k): int(v) for k, v in kept["steps"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(file)

    def is_new(self, key: str, step: int) -> bool:
        """Whether an earlier session of the run has not logged `key` at `step` yet."""
        return step > self._before.get(key, -1)

    def record(self, keys: Iterable[str], step: int) -> None:
        """Note that a row with these values is logged."""
        self.next_row += 1
        self._steps.update(dict.fromkeys(keys, step))
        if self._file is None:
            return
        content = json.dumps({"next_row": self.next_row, "steps": self._steps})
        self._file.parent.mkdir(parents=True, exist_ok=True)
        # No fsync: this is written at every logged step, and after a power cut a repeated step does no harm.
        temporary = self._file.with_name(f".{self._file.name}")
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(self._file)
