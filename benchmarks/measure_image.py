"""How fast an image is measured: ours against `openssl dgst -sha256` on the same files, in the same run.

Ours does more: it reads and checks the lists of the layers, looks at the type, mode, owner and link of every path,
finds added paths and computes the image digest. Both use one process a core, and share the files out alike, so that
neither waits for one core with the largest file. The two take turns; the best time of each counts, since other work on
the machine only ever adds.

Run: .venv/bin/python benchmarks/measure_image.py  (builds the image of torch-cpu first, where the store lacks it)
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from reprise.engine.flat_copy import flat_copy
from reprise.engine.interface import ImageRef
from reprise.engine.unpack import unpack_layers
from reprise.environments import build_environment
from reprise.project import Project
from reprise.store import Store
from reprise_trainer.identity.hashing import split_by_size, start_hashing
from reprise_trainer.identity.measure import measure

ENVIRONMENT = "torch-cpu"
ROUNDS = 9


def main() -> None:
    store = Store.open()
    image = ImageRef(store, build_environment(Project.find(Path(__file__).parent), ENVIRONMENT, store).digest)
    root = flat_copy(image, unpack_layers(store, image.layers()))
    owner = (os.getuid(), os.getgid())
    first = measure(root, owner=owner)
    assert (first.digest, first.differences) == (image.digest, ()), first.differences[:5]
    files = [(file.path, file.size) for file in first.listed.values() if file.sha256]
    cores = len(os.sched_getaffinity(0))
    shares = [[files[index][0] for index in share] for share in split_by_size([size for _, size in files], cores)]

    times: dict[str, list[float]] = {"measure": [], "hash alone": [], "openssl": []}
    for _ in range(ROUNDS):
        times["openssl"].append(_openssl(root, shares))
        times["measure"].append(measure(root, owner=owner).seconds)
        times["hash alone"].append(_hash_alone(root, files))

    print(f"{first.files:,} files, {first.bytes / 1e9:.2f} GB, {cores} cores, {ROUNDS} rounds in turns")
    for name, seconds in times.items():
        best, middle = min(seconds), sorted(seconds)[len(seconds) // 2]
        print(f"{name:10}  best {best:.3f} s ({first.bytes / best / 1e9:.2f} GB/s), median {middle:.3f} s")
    print(f"hash alone against openssl: {min(times['openssl']) / min(times['hash alone']):.2f}")
    print(f"openssl {min(times['openssl']) / min(times['measure']):.2f}")


def _hash_alone(root: Path, files: list[tuple[str, int]]) -> float:
    start = time.perf_counter()
    digests = start_hashing(root, files).collect()
    assert None not in digests
    return time.perf_counter() - start


def _openssl(root: Path, shares: list[list[str]]) -> float:
    """Seconds that openssl takes for all files, one share a core; xargs splits a share that is too long to pass."""
    start = time.perf_counter()
    running = []
    for share in shares:
        process = subprocess.Popen(
            ["xargs", "-0", "openssl", "dgst", "-sha256"], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        running.append((process, share))
    for process, share in running:
        assert process.stdin
        process.stdin.write("\0".join(share).encode())
        process.stdin.close()
    for process, _ in running:
        assert process.wait() == 0
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
