"""A plain DDP loop with WORKERS processes for STEPS steps: `ddp_workers.py WORKERS STEPS`. Prints seconds a step."""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from text_batches import BATCH, BLOCK, HEADS, LAYERS, RATE, VOCABULARY, WIDTH, TextBatches

from reprise_trainer.training.workers.crew import crew

WARM_UP = 10


def main() -> None:
    workers, count = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder, crew(workers) as group:
        meeting = Path(folder) / "meeting"
        import torch
        import torch.distributed as dist
        from plain_gpt import PlainGpt
        from torch.nn import functional
        from torch.nn.parallel import DistributedDataParallel

        torch.set_num_threads(1)
        torch.manual_seed(1)
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=group.rank, world_size=workers)
        model = DistributedDataParallel(PlainGpt(VOCABULARY, BLOCK, LAYERS, HEADS, WIDTH))
        optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01, fused=True)

        times, batches, own = [], TextBatches(), BATCH // workers
        for step in range(count):
            began = time.perf_counter()
            tokens = torch.from_numpy(batches.batch(step).fields["tokens"]).long()
            mine = tokens[group.rank * own : (group.rank + 1) * own]
            scores = model(mine[:, :-1])
            loss = functional.cross_entropy(scores.reshape(-1, VOCABULARY), mine[:, 1:].reshape(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            times.append(time.perf_counter() - began)
        digest = hashlib.sha256()
        for value in model.parameters():
            digest.update(value.detach().numpy().tobytes())
        dist.barrier()
        if group.rank == 0:
            print(json.dumps({"seconds": statistics.median(times[WARM_UP:]), "result": digest.hexdigest()}))
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
