"""`batch(step)` of this project, from a snapshot folder, batches made ahead by one thread as in a run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from measure import Batch, report

import reprise
from reprise_trainer.data.batches import Batches
from reprise_trainer.data.prefetch import prefetched
from reprise_trainer.data.snapshot import open_snapshot

FAR = 10**9


def main() -> None:
    folder, batch = Path(sys.argv[1]), int(sys.argv[2])
    source = open_snapshot(folder / "snapshot")

    def epoch() -> Iterator[Batch]:
        batches = Batches(source, "train", seed=1, batch_size=batch)
        for made in prefetched(batches.batch, range(batches.records // batch), 1):
            yield made.fields["image"], made.fields["label"]

    def far() -> Batch:
        made = Batches(source, "train", seed=2, batch_size=batch).batch(FAR // batch)
        return made.fields["image"], made.fields["label"]

    report(reprise.__version__, epoch, batch, far)


if __name__ == "__main__":
    main()
