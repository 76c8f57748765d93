"""Configuration, profile, loop, ledger, checkpoints and run record: one training run, and the proof of it.

In: a run configuration, an opened snapshot, a prepared backend. Out: `ledger.jsonl`, `checkpoints/`, a signed record.
Imports `data`, `backends`, `evaluation` and `identity`. `profiles` uses the standard library alone, since it runs
before the image is measured; `config`, `ledger` and `record` import nothing numeric, since the host reads by them too.
"""
