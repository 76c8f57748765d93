"""How good a trained state is, in numbers that can be compared bit by bit.

In: a backend, a state, a split's columns. Out: an `Evaluation` of integer counts and one exactly rounded sum. Imports
`data` and `backends`.
"""
