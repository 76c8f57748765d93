"""Snapshots, record order, random numbers and batches: which records a step trains on.

In: a snapshot folder, a seed, a step. Out: `batch(step)`, a pure function of those three; no iterator state anywhere.
`snapshot`, `merkle`, `croissant`, `shard_order` and `feed` import the standard library and pydantic alone, since the
host uses them; the rest adds numpy. Imports no other folder of this package.
"""
