"""Hashes of what JAX computes where jaxlib has been told of another CPU first: CACHE_SIZES KERNELS [keep].

The profile's switches are set after that, as every start does, unless told to keep the other CPU's. Prints a JSON
document.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable

from reprise_trainer.numerics.enter import enter_profile
from reprise_trainer.numerics.profiles import PROFILES


def main() -> None:
    sizes, kernels, *keep = sys.argv[1:]
    profile = PROFILES["portable"]
    enter_profile(profile, 1)

    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax import Array, lax

    from reprise_trainer.backends import jax_switches, jaxlib_cpu
    from reprise_trainer.numerics.inputs import spread

    assert jaxlib_cpu.tell({jaxlib_cpu.CACHE_SIZES: sizes, jaxlib_cpu.KERNELS: kernels}) == ()
    if not keep:
        jax_switches.prepare(profile.backends["jax"], 1)

    def kernels_gradient(x: Array, incoming: Array, weight: Array) -> Array:
        layout = ("NCHW", "OIHW", "NCHW")
        pads = [(1, 1), (1, 1)]

        def convolved(weight: Array) -> Array:
            return lax.conv_general_dilated(x, weight, (1, 1), pads, dimension_numbers=layout)

        gradient: Array = jax.vjp(convolved, weight)[1](incoming)[0]
        return gradient

    def hashed(function: Callable[..., Array], *inputs: object) -> str:
        return hashlib.sha256(np.asarray(jax.jit(function)(*inputs)).tobytes()).hexdigest()[:12]

    images, weight = spread("images", 8, 1, 28, 28), spread("weight", 12, 1, 3, 3)
    found = {
        "kernels' gradient": hashed(kernels_gradient, images, spread("incoming", 8, 12, 28, 28), weight),
        "product of long rows": hashed(jnp.matmul, spread("left", 61, 2000), spread("right", 2000, 50)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
