"""Which of ATen's operations a piece of PyTorch code takes, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class OperationsSeen(TorchDispatchMode):  # type: ignore[misc]
    """While it is entered, notes in `names` each operation that makes floating-point values, with their element type:
    `aten::mm float32`. Views are left out, since they compute nothing; a backward pass on CPU runs in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            kind = next((each.dtype for each in _tensors(result) if each.is_floating_point()), None)
            if kind is not None:
                self.names.add(f"{func._schema.name} {str(kind).removeprefix('torch.')}")
        return result


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, tuple | list):
        for each in result:
            yield from _tensors(each)
