"""Our loop with WORKERS processes for STEPS steps: `ours_workers.py WORKERS STEPS`. Prints seconds a step."""

from __future__ import annotations

import json
import statistics
import sys
import time

from text_batches import BATCH, BLOCK, HEADS, LAYERS, RATE, VOCABULARY, WIDTH, TextBatches

from reprise_trainer.training.workers.crew import crew

SHARDS, WARM_UP = 4, 10


def main() -> None:
    workers, count = int(sys.argv[1]), int(sys.argv[2])
    with crew(workers) as group:
        from reprise_trainer.backends.interface import AdamW, Recipe
        from reprise_trainer.backends.models import Gpt
        from reprise_trainer.numerics.profiles import PROFILES
        from reprise_trainer.training.loop import first_state, steps
        from reprise_trainer.training.plan import Plan, make_backend
        from reprise_trainer.training.schedule import Schedule
        from reprise_trainer.training.workers.joining import join

        model = Gpt(VOCABULARY, BLOCK, LAYERS, HEADS, WIDTH, dropout=0.0, tied=False)
        recipe = Recipe(AdamW(0.9, 0.999, 1e-8, 0.01))
        plan = Plan(1, count, BATCH, SHARDS, count, Schedule(RATE, "constant", count), model, recipe)
        exchange = join("torch", group)
        backend = make_backend("torch", plan)
        backend.prepare(PROFILES["x86-64-v3"].backends["torch"], 1)

        times, late, facts = [], None, None
        began = time.perf_counter()
        for step in steps(plan, backend, TextBatches(), first_state(plan, backend), 0, exchange=exchange):
            if late is not None:
                facts = late.read()  # as the ledger does: one step late
            late = step.reading
            now = time.perf_counter()
            times.append(now - began)
            began = now
        exchange.close()
        if group.rank == 0 and facts is not None:
            print(json.dumps({"seconds": statistics.median(times[WARM_UP:]), "result": facts.gradient}))


if __name__ == "__main__":
    main()
