"""One small interface, and the numeric frameworks behind it.

In: NumPy arrays (initial values, batches), plain numbers. Out: opaque states and shard sums, NumPy arrays again; no
type of a framework crosses the interface. `models` says which parameters a built-in model has and their initial values,
the same for every framework. Imports `data` for random numbers; nothing of training.
"""
