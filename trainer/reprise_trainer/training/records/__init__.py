"""What a run was: its record, its attempts, its streams of random numbers, and what it used of the machine.

In: a measured image, a launch, an outcome. Out: the predicate of a signed statement.
"""
