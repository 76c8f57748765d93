"""Do all workers' machines compute alike? Asked once, before step 0.

Each worker compares its own machine with the committed table, and goes on when it is unproven. But workers apply every
update for themselves: two whose operations differ would drift apart, step by step. Their ledgers' heads would show that
at the first checkpoint; here it is known before the first step, with the names of the operations.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import DoesNotHoldError
from reprise_trainer.numerics.proof import Proof, WorkerMachine, promised, table_digest
from reprise_trainer.training.workers.exchange import Exchange, gather_texts

_NAMED = 8
"""Operations that a message names of one worker."""


@dataclass(frozen=True, slots=True)
class _Measured:
    machine: str
    operations: dict[str, str]


def compare_machines(exchange: Exchange, backend: str, proof: Proof) -> Proof:
    """The proof, with what all workers' machines are.

    Operations for which no profile promises anything are left out, since a run that is proved does not use them.

    Args:
        exchange: between the workers; each of them calls this.
        backend: the framework's name.
        proof: this worker's own.

    Raises:
        DoesNotHoldError: a worker's machine is of another class than worker 0's, or has other bits; names each such
            worker, and the operations.
    """
    mine = canonical_json({"machine": proof.machine, "operations": promised(backend, proof.operations)})
    found = [_Measured(**json.loads(each)) for each in gather_texts(exchange, mine)]
    if differing := _differing(found):
        raise DoesNotHoldError(
            f"the workers' machines don't compute alike: {'; '.join(differing)}",
            hint="Start all workers on machines of one class, or leave out those that are named. "
            "On each, `reprise_trainer operations` compares its bits with the committed table.",
        )
    return replace(proof, workers=tuple(WorkerMachine(each.machine, table_digest(each.operations)) for each in found))


def _differing(found: Sequence[_Measured]) -> list[str]:
    """A line for each worker that is not as worker 0."""
    first, lines = found[0], []
    for rank, each in enumerate(found):
        names = sorted(
            name
            for name in first.operations.keys() | each.operations.keys()
            if first.operations.get(name) != each.operations.get(name)
        )
        if names:
            lines.append(
                f"worker {rank} ({_class(each)}) has other bits than worker 0 ({_class(first)}) in {_list(names)}"
            )
        elif each.machine != first.machine:
            lines.append(f"worker {rank} is on {_class(each)}, worker 0 on {_class(first)}")
    return lines


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if names[_NAMED:] else ""
    return ", ".join(names[:_NAMED]) + more


def _class(measured: _Measured) -> str:
    return measured.machine or "a machine of no class"
