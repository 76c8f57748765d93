"""A snapshot of many small shards in a registry, and runs of the trainer that a launcher feeds from there."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from oci_registry import OciRegistry, serve_registry
from tests.registry.conftest import no_logins  # noqa: F401 - this machine's own logins count for nothing
from tests.trainer.conftest import ARTIFACT, SHA256, Ran, command, environment, idx_files

from reprise.feed.snapshot import FedSnapshot, ShardPlace, fed_snapshot
from reprise.ingest import write
from reprise.ingest.fashion_mnist import read_fashion_mnist
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.snapshots import StoredSnapshot, keep_snapshot
from reprise.store import Store
from reprise_trainer.config.data import FashionMnistSection, StoreSection
from reprise_trainer.data.shard_order import room_needed
from reprise_trainer.data.snapshot import OpenSnapshot, Source, open_snapshot

RECORDS = {"train": 600, "test": 70}
A_SHARD = 16
"""Records; so a window has 128, and an epoch five windows."""

CONFIG = """
[run]
name = "fed"
environment = "torch-cpu"
seed = 7
threads = 1

[data]
kind = "store"
name = "fashion-mnist"
snapshot = "{snapshot}"
order = "shards"
workers = {workers}

[model]
kind = "mlp"
hidden = [8]
dropout = 0.1

[train]
steps = {steps}
batch_size = 16
shards = 4

[train.optimizer]
kind = "adamw"
lr = 0.01

[checkpoint]
every = 20

[evaluate]
batch_size = 35
"""
STEPS = 60


@dataclass(frozen=True)
class Fed:
    """A snapshot, whole in a folder and in a registry; `artifact` is its manifest, `layout` the store it came from."""

    whole: OpenSnapshot
    registry: OciRegistry
    artifact: str
    layout: Path

    @property
    def where(self) -> str:
        return f"{self.registry.host}/team/numbers@{self.artifact}"

    def section(self, order: str = "shards") -> StoreSection:
        return StoreSection.model_validate(
            {"kind": "store", "name": "fashion-mnist", "snapshot": self.whole.digest, "order": order}
        )

    def room(self) -> int:
        """What the order needs at least, and the whole snapshot has not."""
        needed = room_needed(self.whole.snapshot, "train", "shards")
        assert needed < self.whole.size * 3 // 4
        return needed

    def asked(self) -> dict[str, int]:
        """How often each shard was asked for."""
        digests = {f"sha256:{shard.sha256}": shard.path for shard in self.whole.snapshot.shards()}
        found: dict[str, int] = {}
        for request in self.registry.asked:
            if path := digests.get(request.path.rpartition("/")[2]):
                found[path] = found.get(path, 0) + 1
        return found


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[OpenSnapshot, Store, str]:
    """The snapshot whole, and in a store under its artifact's digest."""
    folder = tmp_path_factory.mktemp("fed")
    rules = FashionMnistSection(name="fashion-mnist", artifact=ARTIFACT, sha256=SHA256)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(write, "SHARD_BYTES", A_SHARD * 784)
        reading = read_fashion_mnist(idx_files(RECORDS), records=RECORDS)
        digest = write.write_snapshot(
            folder / "whole", reading, rules, [Source(artifact=ARTIFACT, sha256=SHA256)]
        ).digest
    store = Store.open(folder / "store")
    artifact = keep_snapshot(StoredSnapshot(digest, folder / "whole"), store)
    return open_snapshot(folder / "whole", expected=digest), store, artifact


@pytest.fixture
def fed(made: tuple[OpenSnapshot, Store, str]) -> Iterator[Fed]:
    whole, store, artifact = made
    with serve_registry(OciRegistry()) as registry:
        push(store, artifact, parse_reference(f"{registry.host}/team/numbers:1"))
        registry.asked.clear()
        yield Fed(whole, registry, artifact, store.root)


@dataclass
class Launched:
    """A launcher that serves: where the trainer looks, and the most bytes of shards that were there at once."""

    snapshot: FedSnapshot
    launch: Path
    most: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def socket(self) -> Path:
        return self.launch / "shards.sock"

    def watch(self) -> None:
        while not self.over.is_set():
            self.most = max(self.most, self.here())
            time.sleep(0.002)

    def here(self) -> int:
        total = 0
        for path in (self.snapshot.folder / "shards").iterdir():
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
        return total


@contextmanager
def launched(fed: Fed, folder: Path, *, room: int = 0, order: str = "shards", where: str = "") -> Iterator[Launched]:
    """A launcher with a store of its own below `folder`, which is empty at first."""
    place = ShardPlace(where or fed.where, room or fed.room())
    (folder / "launch").mkdir(parents=True, exist_ok=True)
    with (
        fed_snapshot(fed.section(order), place, Store.open(folder / "store")) as snapshot,
        snapshot.serving(folder / "launch"),
    ):
        found = Launched(snapshot, folder / "launch")
        thread = threading.Thread(target=found.watch)
        thread.start()
        try:
            yield found
        finally:
            found.over.set()
            thread.join()
    assert not list((folder / "store/cache/feeds").iterdir()), "nothing is left of it"


def config(fed: Fed, *, workers: int = 1, steps: int = STEPS) -> str:
    return CONFIG.format(snapshot=fed.whole.digest, workers=workers, steps=steps)


def arguments(text: str, fed: Fed, output: Path, launched: Launched | None, processes: int = 1) -> list[str]:
    """The command of a run whose shards come from `launched`, or are all there."""
    argv = command(text, fed.whole, output)
    if launched is None:
        return argv
    argv[argv.index(str(fed.whole.folder))] = str(launched.snapshot.folder)
    return [*argv, "", str(processes), str(launched.socket)]


Trains = Callable[..., Ran]


@pytest.fixture
def trains(tmp_path: Path) -> Trains:
    """Run the trainer, outside an image, to its end."""

    def run(text: str, fed: Fed, launched: Launched | None = None, *, output: str = "run", processes: int = 1) -> Ran:
        argv = arguments(text, fed, tmp_path / output, launched, processes)
        done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=300)
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
        return Ran(done.returncode, done.stderr, result, tmp_path / output)

    return run


@pytest.fixture(scope="session")
def undisturbed(made: tuple[OpenSnapshot, Store, str], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The run with the whole snapshot on disk."""
    whole, store, artifact = made
    fed = Fed(whole, OciRegistry(), artifact, store.root)
    output = tmp_path_factory.mktemp("undisturbed") / "run"
    done = subprocess.run(
        arguments(config(fed), fed, output, None), env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return Ran(0, done.stderr, json.loads(done.stdout.splitlines()[-1]), output)
