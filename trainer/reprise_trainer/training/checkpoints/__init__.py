"""Checkpoints: one immutable state in a folder, named by a Merkle root, written behind, kept by a rule, signed.

In: tensors by name. Out: folders that are whole or absent, and their state digests. Nothing here knows of a loop.
"""
