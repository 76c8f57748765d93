"""MosaicML's StreamingDataset over MDS shards on the local disk, shuffled, in torch's DataLoader.

The faster of 0 and 2 workers. Its state is a sample number within an epoch; the measured one is the first batch of a
new data set whose state says so, in the epoch that holds position 10**9.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from measure import Batch, records_per_second, report
from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch.utils.data import DataLoader

FAR = 10**9
EXTENT = 28


def write(folder: Path, path: Path) -> None:
    image, label = np.load(folder / "image.npy", mmap_mode="r"), np.load(folder / "label.npy")
    columns = {"image": f"ndarray:uint8:{EXTENT},{EXTENT}", "label": "uint8"}
    with MDSWriter(out=str(path), columns=columns, size_limit=1 << 24) as writer:
        for number in range(len(label)):
            writer.write({"image": image[number], "label": label[number]})


def main() -> None:
    folder, batch = Path(sys.argv[1]), int(sys.argv[2])
    path = folder / "mds"
    if not path.exists():
        write(folder, path)

    def loader(workers: int, state: dict[str, int] | None = None) -> DataLoader[Batch]:
        clean_stale_shared_memory()
        records = StreamingDataset(local=str(path), shuffle=True, shuffle_seed=1, batch_size=batch)
        if state is not None:
            records.load_state_dict(state)
        return DataLoader(records, batch, num_workers=workers, drop_last=True)

    def epoch(workers: int, state: dict[str, int] | None = None):  # type: ignore[no-untyped-def]
        for made in loader(workers, state):
            yield made["image"], made["label"]

    def far() -> Batch:
        count = len(np.load(folder / "label.npy", mmap_mode="r"))
        number, sample = divmod(FAR, count)
        state = {
            "epoch": number,
            "sample_in_epoch": sample,
            "num_canonical_nodes": 1,
            "shuffle_seed": 1,
            "initial_physical_nodes": 1,
        }
        return next(epoch(0, state))

    rates = {workers: records_per_second(epoch(workers), batch) for workers in (0, 2)}
    best = max(rates, key=lambda workers: rates[workers])
    report(f"streaming {version('mosaicml-streaming')}, {best} workers", lambda: epoch(best), batch, far)


if __name__ == "__main__":
    main()
