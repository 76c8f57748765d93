"""Does the profile's promise hold for this run, on this machine? Asked at every start, before step 0."""

from __future__ import annotations

import os

from reprise_trainer.backends.interface import Backend, ShardKey, State
from reprise_trainer.data.batches import BatchSource
from reprise_trainer.numerics.enter import further_xla_flags
from reprise_trainer.numerics.measure import measure
from reprise_trainer.numerics.profiles import Profile
from reprise_trainer.numerics.proof import Proof, prove, with_used
from reprise_trainer.numerics.table import read_table
from reprise_trainer.training.plan import Plan


def prove_run(
    profile: Profile,
    threads: int,
    plan: Plan,
    backend: Backend,
    state: State,
    batches: BatchSource,
    doubts: tuple[str, ...] = (),
) -> Proof:
    """Compute the quick operation table, and look up the operations that the first step takes.

    Args:
        profile, threads: under which this process runs.
        plan, backend: prepared.
        state: before step 0; not changed.
        batches: the run's.
        doubts: what the backend said when it was prepared.
    """
    table = read_table()
    proof = prove(profile, backend.name, backend.version, threads, measure(backend.name, quick=True), table)
    for doubt in doubts:
        proof = proof.weakened(doubt)
    if further := further_xla_flags(profile, os.environ):
        proof = proof.weakened(f"XLA_FLAGS has {' '.join(further)}, which the profile does not set")
    fields = batches.batch(0).shard(0, plan.shards)
    return with_used(proof, backend.name, backend.operations(state, fields, ShardKey(plan.seed, 0, 0)), table)
