"""One training run, and the proof of it: plan, loop, ledger; with folders for checkpoints, workers and records.

In: a run configuration, an opened snapshot, a prepared backend. Out: `ledger.jsonl`, `checkpoints/`, a signed record.
Read `run` first, then `ready`, `loop` and `journal`. Imports `config`, `data`, `backends`, `evaluation`, `identity` and
`numerics`. `ledger` and `records.record` import nothing numeric, since the host reads by them too.
"""
