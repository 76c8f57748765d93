"""Which worker this process is, of how many, and where they meet. Standard library alone.

Either our own launcher says so (`crew`), or the variables of one outside: torchrun's (RANK, WORLD_SIZE,
LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT), or Slurm's srun (SLURM_PROCID, SLURM_NTASKS, SLURM_NTASKS_PER_NODE) with
MASTER_ADDR and MASTER_PORT beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from reprise_trainer.errors import InputError
from reprise_trainer.training.workers.desk import Desk

_NAMES = (
    ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"),  # torchrun(1): "Environment Variables"
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"),  # srun(1): "OUTPUT ENVIRONMENT VARIABLES"
)


@dataclass(frozen=True, slots=True)
class Group:
    """This worker's number `rank` of `size`, how many of them are on this host, and where rank 0 is met.

    `served`: a store is served at host and port already (by torchrun); rank 0 serves one else. `attempt` keeps the
    meetings of one job's restarts apart. Workers with a `desk` have met: they were forked from each other. `leaving` is
    called when this worker's work ends by an error, before it finishes what is under way.
    """

    rank: int = 0
    size: int = 1
    on_host: int = 1
    host: str = ""
    port: int = 0
    served: bool = False
    attempt: str = "0"
    desk: Desk | None = None
    leaving: Callable[[], None] = field(default=lambda: None, compare=False)


SINGLE = Group()


def group_outside(environment: Mapping[str, str]) -> Group | None:
    """The group that an outside launcher has put this process into; None where there is none, or it is of one worker.

    Raises:
        InputError: a variable is missing or is no number.
    """
    for rank, size, on_host in _NAMES:
        if rank in environment and environment.get(size, "1") != "1":
            found = Group(
                rank=_number(environment, rank),
                size=_number(environment, size),
                on_host=_number(environment, on_host) if on_host in environment else 1,
                host=environment.get("MASTER_ADDR", ""),
                port=_number(environment, "MASTER_PORT"),
                served=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
                attempt=environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
            )
            if not found.host:
                raise InputError(f"{rank} says that there are several workers, and MASTER_ADDR is not set")
            return found
    return None


def own_shards(rank: int, size: int, shards: int) -> range:
    """The logical shards that worker `rank` of `size` computes: neighbours, so that their sum is a node of the tree.

    Raises:
        InputError: they can't be shared evenly; lists the numbers of workers that would do.
    """
    if shards % size:
        fitting = [str(1 << bit) for bit in range(shards.bit_length())]
        raise InputError(
            f"{size} workers can't share {shards} logical shards evenly; {', '.join(fitting)} would do",
            hint="Start another number of workers. (train.shards is part of the run and changes its bits.)",
        )
    each = shards // size
    return range(rank * each, (rank + 1) * each)


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment.get(name, "")
    if not (value.isascii() and value.isdecimal()):
        raise InputError(f"{name} is {value!r}, expected a number: a launcher sets it")
    return int(value)
