"""Train a small character model for two steps under the profile `portable`: BACKEND. Prints the state's digest."""

import sys

from reprise_trainer.numerics.enter import require_profile
from reprise_trainer.numerics.profiles import PROFILES


def main(name: str) -> None:
    profile = PROFILES["portable"]
    require_profile(profile, 1)

    import numpy as np

    from reprise_trainer.backends.interface import AdamW, Recipe, ShardKey
    from reprise_trainer.backends.models import Gpt
    from reprise_trainer.training.checkpoints.state_digest import state_digest
    from reprise_trainer.training.plan import Plan, Schedule, make_backend

    model = Gpt(vocabulary=65, block=32, layers=2, heads=2, width=32, dropout=0.1, tied=True, recompute=True)
    recipe = Recipe(AdamW(0.9, 0.99, 1e-8, 0.1), clip_norm=1.0)
    backend = make_backend(name, Plan(1, 2, 8, 2, 2, Schedule(0.01, "constant", 2), model, recipe))
    backend.prepare(profile.backends[name], 1)
    state = backend.initial(1)
    for step in range(2):
        tokens = (np.arange(8 * 33, dtype=np.int32) * (7 + step) % 65).reshape(8, 33)
        halves = [
            backend.shard_sums(state, {"tokens": tokens[4 * i : 4 * i + 4]}, ShardKey(1, step, i)) for i in (0, 1)
        ]
        state = backend.apply(state, backend.add(*halves), 0.01)
    print(state_digest(backend.export(state)))


if __name__ == "__main__":
    main(sys.argv[1])
