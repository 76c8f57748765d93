"""Which of JAX's primitives a function takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp


def primitives_of(function: Callable[..., Any], *arguments: Any) -> frozenset[str]:
    """Primitives that make floating-point values, with their element type: `dot_general float32`.

    Programs inside (jit, scan, cond, custom rules) are looked into, and not named themselves.
    """
    return frozenset(_primitives(jax.make_jaxpr(function)(*arguments).jaxpr))


def _primitives(jaxpr: Any) -> Iterator[str]:
    for equation in jaxpr.eqns:
        inner = [each for value in equation.params.values() for each in _programs(value)]
        for each in inner:
            yield from _primitives(each)
        kinds = [each.aval.dtype for each in equation.outvars if hasattr(each.aval, "dtype")]
        kind = next((each for each in kinds if jnp.issubdtype(each, jnp.floating)), None)
        if kind is not None and not inner:
            yield f"{equation.primitive.name} {kind}"


def _programs(value: Any) -> Iterator[Any]:
    """The jaxprs in a parameter of an equation: itself, or those of a tuple of branches."""
    for each in value if isinstance(value, tuple | list) else (value,):
        program = getattr(each, "jaxpr", each)
        if hasattr(program, "eqns"):
            yield program
