"""Configuration, profile, loop, ledger, checkpoints and run record: one training run, and the proof of it.

In: a run configuration, an opened snapshot, a prepared backend. Out: `ledger.jsonl`, `checkpoints/`, a signed record.
Imports `data`, `backends`, `evaluation`, `identity` and `numerics`.
`config`, `ledger` and `record` import nothing numeric, since the host reads by them too.
"""
