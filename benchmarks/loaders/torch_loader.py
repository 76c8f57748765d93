"""torch's DataLoader over a map-style data set in memory-mapped arrays, shuffled; the faster of 0 and 2 workers.

Its position is that of a running iterator: there is no batch at position 10**9 short of drawing all before it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from measure import Batch, records_per_second, report
from torch.utils.data import DataLoader, Dataset


class Records(Dataset[Batch]):
    def __init__(self, folder: Path) -> None:
        self.image = np.load(folder / "image.npy", mmap_mode="r")
        self.label = np.load(folder / "label.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int) -> Batch:
        return torch.from_numpy(self.image[index].copy()), int(self.label[index])


def main() -> None:
    folder, batch = Path(sys.argv[1]), int(sys.argv[2])
    records = Records(folder)

    def loader(workers: int) -> DataLoader[Batch]:
        generator = torch.Generator().manual_seed(1)
        return DataLoader(records, batch, shuffle=True, drop_last=True, num_workers=workers, generator=generator)

    rates = {workers: records_per_second(iter(loader(workers)), batch) for workers in (0, 2)}
    best = max(rates, key=lambda workers: rates[workers])
    report(f"torch {torch.__version__}, {best} workers", lambda: loader(best), batch, None)


if __name__ == "__main__":
    main()
