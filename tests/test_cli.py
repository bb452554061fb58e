"""How commands end."""

import random
import sys
from types import FrameType
from typing import Any

import pytest

from unet_exp.cli import run_command
from unet_exp.config import compose_config


class InterruptAtLine:
    """Trace function that raises KeyboardInterrupt at the n-th line that Hydra or OmegaConf runs, as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        self.lines, self._number = 0, number

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if not any(name in frame.f_code.co_filename for name in ("omegaconf", "hydra")):
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self._number:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


def compose_interrupted(number: int) -> InterruptAtLine:
    interrupt = InterruptAtLine(number)
    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        run_command(lambda: compose_config("train", ["data=bcss_demo"]))
    finally:
        sys.settrace(before)
    return interrupt


@pytest.mark.slow
def test_ctrl_c_while_the_configuration_is_composed_is_always_told_as_one(capsys):
    compose_interrupted(0)  # fills caches: from here on it always runs the same lines
    lines = compose_interrupted(0).lines
    rng = random.Random(0)
    for number in sorted(rng.randrange(1, lines) for _ in range(40)):
        with pytest.raises(SystemExit) as ended:
            compose_interrupted(number)
        assert ended.value.code == 130, number
        assert capsys.readouterr().err == "interrupted\n"


def test_an_error_while_an_interruption_is_handled_is_an_interruption(capsys):
    def command() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError

    with pytest.raises(SystemExit) as ended:
        run_command(command)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_other_exit_codes_pass(capsys):
    for code in (0, 2, 130):
        with pytest.raises(SystemExit) as ended:
            run_command(lambda code=code: sys.exit(code))
        assert ended.value.code == code
    assert capsys.readouterr().err == ""
