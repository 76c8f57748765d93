"""`run_once.py` with a worker that lies about its machine: RANK OPERATION, then the arguments of `run_once.py`."""

import sys
from typing import Any

RANK, OPERATION = int(sys.argv[1]), sys.argv[2]
del sys.argv[1:3]

import run_once  # noqa: E402  beside this script; reads what is left

from reprise_trainer.training.workers.group import SINGLE, Group  # noqa: E402

honest = run_once.train


def train(*arguments: Any, group: Group = SINGLE, **more: Any) -> int:
    if group.rank == RANK:
        from reprise_trainer.training import proving

        measure = proving.measure
        proving.measure = lambda *asked, **how: {**measure(*asked, **how), OPERATION: "0" * 16}
    return honest(*arguments, group=group, **more)


run_once.train = train

if __name__ == "__main__":
    run_once.end()
