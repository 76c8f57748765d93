"""Several processes that train one model: how they start, meet, share shards, and add in one fixed order.

In: a number of workers, or an outside launcher's variables. Out: the same sums as one worker alone would have.
"""
