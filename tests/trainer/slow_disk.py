"""`run_once.py` with checkpoints that take SECONDS longer, in a crew that waits END seconds: SECONDS END, then the
arguments of `run_once.py`."""

import sys
import time
from typing import Any

SECONDS, END = float(sys.argv[1]), float(sys.argv[2])
del sys.argv[1:3]

import run_once  # noqa: E402  beside this script; reads what is left

from reprise_trainer.training.workers import crew  # noqa: E402

fast = run_once.train


def train(*arguments: Any, **more: Any) -> int:
    from reprise_trainer.training.checkpoints import writer

    write = writer.write_checkpoint

    def slow(*asked: Any, **how: Any) -> str:
        time.sleep(SECONDS)
        return write(*asked, **how)

    writer.write_checkpoint = slow
    return fast(*arguments, **more)


run_once.train, crew.END_SECONDS = train, END

if __name__ == "__main__":
    run_once.end()
