"""What a user's model may keep in its buffers, whatever its framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reprise_trainer.errors import InputError

STORED: Final = (
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "complex64"),
)
"""Element types, by NumPy's name, that a checkpoint holds and that are read back from it."""


def require_stored(model: str, buffers: Mapping[str, Any]) -> None:
    """Refuse a buffer that a checkpoint could not give back.

    Args:
        model: whose they are, for the message.
        buffers: name → an array or tensor.

    Raises:
        InputError: one has an element type that is not in `STORED`.
    """
    for name, buffer in buffers.items():
        if _element_type(buffer) not in STORED:
            raise InputError(
                f"{model}: buffer {name!r} is {_element_type(buffer)}, which no checkpoint can hold",
                hint=f"Keep it in another type, and convert it where it is used: {', '.join(STORED)}.",
            )


def require_kept(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Refuse buffers that a model has made, removed or changed the form of: no state of before or after would fit both.

    Args:
        before, after: name → an array or tensor.

    Raises:
        InputError: they differ in a name, a shape or an element type.
    """
    for name in sorted({*before, *after}):
        was, now = (_form(each[name]) if name in each else "not there" for each in (before, after))
        if was != now:
            raise InputError(
                f"the model's buffer {name!r} was {was} before a step, and is {now} after it",
                hint="A buffer must keep its shape and type, and none may come or go while training.",
            )


def _form(buffer: Any) -> str:
    return f"{_element_type(buffer)} {list(buffer.shape)}"


def _element_type(buffer: Any) -> str:
    return str(buffer.dtype).removeprefix("torch.")
