"""One fixed order of addition: a pairwise tree over the logical shards' numbers.

Floating-point addition is not associative, so the order must not depend on who computed what. The tree of 2**k shards:
neighbours first, (0+1), (2+3), …, then those sums pairwise, and so on. Whoever holds shards [0, 2**j) can add them
alone and gets a node of that same tree, so 1, 2, 4 … workers give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

Sums = TypeVar("Sums")


def tree_sum(parts: Iterable[Sums], add: Callable[[Sums, Sums], Sums]) -> Sums:
    """The tree's root over `parts`, taken in order and one at a time, so that at most log2(n) + 1 are alive.

    Works like a binary counter: two sums of equal height are added at once, the left one first. The number of parts
    should be a power of two; others leave lower sums at the end, which are added from the right.

    Raises:
        ValueError: no parts.
    """
    stack: list[tuple[int, Sums]] = []
    for part in parts:
        height = 0
        while stack and stack[-1][0] == height:
            part = add(stack.pop()[1], part)
            height += 1
        stack.append((height, part))
    if not stack:
        raise ValueError("a tree needs at least one part")
    total = stack.pop()[1]
    while stack:
        total = add(stack.pop()[1], total)
    return total
