"""Grain's MapDataset over an ArrayRecord file, shuffled; the faster of 0 threads and its own default, 16."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import grain
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from measure import Batch, records_per_second, report

FAR = 10**9
EXTENT = 28


def write(folder: Path, path: Path) -> None:
    image, label = np.load(folder / "image.npy", mmap_mode="r"), np.load(folder / "label.npy")
    writer = ArrayRecordWriter(str(path), "group_size:1")  # one record a group: what its authors advise for shuffling
    for number in range(len(label)):
        writer.write(image[number].tobytes() + bytes([label[number]]))
    writer.close()


def parse(record: bytes) -> dict[str, np.ndarray]:
    values = np.frombuffer(record, np.uint8)
    return {"image": values[:-1].reshape(EXTENT, EXTENT), "label": values[-1]}


def main() -> None:
    folder, batch = Path(sys.argv[1]), int(sys.argv[2])
    path = folder / "train.array_record"
    if not path.exists():
        write(folder, path)
    source = grain.sources.ArrayRecordDataSource(str(path))

    def stream() -> grain.MapDataset:
        return grain.MapDataset.source(source).shuffle(seed=1).map(parse)

    def epoch(threads: int):  # type: ignore[no-untyped-def]
        options = grain.ReadOptions(num_threads=threads)
        for made in stream().batch(batch, drop_remainder=True).to_iter_dataset(options):
            yield made["image"], made["label"]

    def far() -> Batch:
        made = stream().repeat().batch(batch)[FAR // batch]
        return made["image"], made["label"]

    rates = {threads: records_per_second(epoch(threads), batch) for threads in (0, 16)}
    best = max(rates, key=lambda threads: rates[threads])
    report(f"grain {version('grain')}, {best} threads", lambda: epoch(best), batch, far)


if __name__ == "__main__":
    main()
