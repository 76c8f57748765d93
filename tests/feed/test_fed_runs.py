"""Shards that come while a run goes on decide when it is ready, and no bit of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from oci_registry import Fault
from tests.feed.conftest import Fed, Launched, Trains, arguments, config, launched
from tests.trainer.conftest import Ran, environment

from reprise.feed.snapshot import ShardPlace, fed_snapshot
from reprise.store import Store
from reprise_trainer.config.data import FashionMnistSection
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError, StorageError, UnavailableError

BLOBS = "/blobs/"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_fed_run_has_the_bits_of_one_with_the_whole_snapshot(
    fed: Fed, trains: Trains, undisturbed: Ran, tmp_path: Path, workers: int
) -> None:
    with launched(fed, tmp_path) as found:
        ran = trains(config(fed, workers=workers), fed, found)
    assert ran.result["state"] == undisturbed.result["state"], ran.error
    assert ran.result["metrics"] == undisturbed.result["metrics"]
    # The ledger begins with the configuration's digest, and another number of threads is another configuration.
    assert ran.bits == trains(config(fed, workers=workers), fed, output="whole").bits


def test_never_more_shards_are_here_than_there_is_room_for(
    fed: Fed, trains: Trains, undisturbed: Ran, tmp_path: Path
) -> None:
    with launched(fed, tmp_path) as found:
        ran = trains(config(fed), fed, found)
    assert ran.bits == undisturbed.bits, ran.error
    assert fed.room() // 2 < found.most <= fed.room() < fed.whole.size
    # 60 batches of 16 are 1.6 epochs of 600 records. An epoch reads each shard once; where its last, shorter shard is
    # read, a window more comes along.
    asked = fed.asked()
    train = [count for path, count in asked.items() if "train" in path]
    assert max(train) <= 4 and sum(train) <= 2 * 2 * (38 + 2 * 8)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", BLOBS, times=1000, pause=0.02, pace=0.01),
        Fault("GET", BLOBS, times=25, drop=3000),
        Fault("GET", BLOBS, times=25, drop=0),
        Fault("GET", BLOBS, times=20, status=503),
    ],
    ids=["slow", "drops", "drops at once", "busy"],
)
def test_a_bad_registry_costs_time_and_no_bits(
    fed: Fed, trains: Trains, undisturbed: Ran, tmp_path: Path, fault: Fault
) -> None:
    with launched(fed, tmp_path) as found:
        fed.registry.faults = [fault]
        ran = trains(config(fed), fed, found)
    assert ran.bits == undisturbed.bits, ran.error


def test_several_processes_share_a_launcher(fed: Fed, trains: Trains, undisturbed: Ran, tmp_path: Path) -> None:
    with launched(fed, tmp_path) as found:
        ran = trains(config(fed), fed, found, processes=2)
        deadline = time.monotonic() + 10
        while found.here() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert found.here() == 0, "what a process had is given back when it ends"
    assert ran.bits == undisturbed.bits, ran.error


def test_an_oci_layout_feeds_too(fed: Fed, trains: Trains, undisturbed: Ran, tmp_path: Path) -> None:
    with launched(fed, tmp_path, where=str(fed.layout)) as found:
        ran = trains(config(fed), fed, found)
    assert ran.bits == undisturbed.bits, ran.error


def test_what_the_store_has_is_not_downloaded(fed: Fed, trains: Trains, undisturbed: Ran, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    kept = fed.whole.snapshot.split("train").shards[:10]
    for shard in kept:
        store.add((fed.whole.folder / shard.path).read_bytes())
    with launched(fed, tmp_path) as found:
        ran = trains(config(fed), fed, found)
    assert ran.bits == undisturbed.bits, ran.error
    assert not {shard.path for shard in kept} & fed.asked().keys()
    assert all(store.has(f"sha256:{shard.sha256}") for shard in kept), "and it stays in the store"


def test_another_order_needs_room_for_all_that_it_reads(fed: Fed, trains: Trains, tmp_path: Path) -> None:
    text = config(fed).replace('order = "shards"', 'order = "whole"')
    with launched(fed, tmp_path, order="whole", room=fed.whole.size) as found:
        ran = trains(text, fed, found)
    assert ran.bits == trains(text, fed, output="whole").bits, ran.error
    with pytest.raises(InputError, match=r'order = "shards"'), launched(fed, tmp_path, order="whole"):
        pass


# -- what is refused


def a_shard(fed: Fed) -> tuple[str, str]:
    """A shard that every epoch reads: its name and its digest."""
    shard = fed.whole.snapshot.split("train").shards[5]
    return shard.path, f"sha256:{shard.sha256}"


def test_wrong_bytes_from_the_registry_are_refused_naming_the_shard(fed: Fed, trains: Trains, tmp_path: Path) -> None:
    name, digest = a_shard(fed)
    right = fed.registry.blobs["team/numbers", digest]
    fed.registry.blobs["team/numbers", digest] = bytes([right[0] ^ 1]) + right[1:]
    with launched(fed, tmp_path) as found:
        ran = trains(config(fed), fed, found)
    assert ran.code == DoesNotHoldError.exit_code
    assert ran.error.count("error:") == 1 and name in ran.error and digest in ran.error


def test_wrong_bytes_from_the_launcher_are_refused_naming_the_shard(fed: Fed, trains: Trains, tmp_path: Path) -> None:
    name, digest = a_shard(fed)
    store = Store.open(tmp_path / "store")
    right = fed.registry.blobs["team/numbers", digest]
    store.root.joinpath("blobs", "sha256", digest[7:]).write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    with launched(fed, tmp_path) as found:
        ran = trains(config(fed), fed, found)
    assert ran.code == 78 and ran.error.count("error:") == 1
    assert f"{name}: the shard's sha256 is" in ran.error


def test_a_registry_that_lost_a_shard_ends_the_run_naming_it(fed: Fed, trains: Trains, tmp_path: Path) -> None:
    name, digest = a_shard(fed)
    del fed.registry.blobs["team/numbers", digest]
    with launched(fed, tmp_path) as found:
        ran = trains(config(fed), fed, found)
    assert ran.code == InputError.exit_code and name in ran.error and "404" in ran.error


def test_a_full_disk_is_one_message(fed: Fed, trains: Trains, small_disk: Path) -> None:
    with launched(fed, small_disk) as found:
        free = os.statvfs(small_disk)
        (small_disk / "other").write_bytes(bytes(free.f_bavail * free.f_bsize - 100_000))
        ran = trains(config(fed), fed, found)
    assert ran.code == StorageError.exit_code, ran.error
    assert ran.error.count("error:") == 1 and "shard shards/train-" in ran.error and "No space left" in ran.error


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda fed: (fed.section(), f"{fed.registry.host}/team/other:1", 1 << 30), NotFoundError, "other"),
        (lambda fed: (fed.section(), "127.0.0.1:1/team/numbers:1", 1 << 30), UnavailableError, "127.0.0.1:1"),
        (lambda fed: (fed.section(), fed.where, fed.room() - 1), InputError, "--shard-cache"),
        (
            lambda fed: (fed.section().model_copy(update={"snapshot": "sha256:" + "1" * 64}), fed.where, 1 << 30),
            InputError,
            "is not the snapshot sha256:1111",
        ),
        (
            lambda fed: (FashionMnistSection(name="made", file="x", sha256="0" * 64), fed.where, 1 << 30),
            InputError,
            'kind = "store"',
        ),
    ],
    ids=["no such repository", "no registry", "too little room", "another snapshot", "made here"],
)
def test_what_can_not_be_fed_is_said_before_the_run(
    fed: Fed, tmp_path: Path, change: Callable[[Fed], tuple[object, str, int]], error: type[Exception], said: str
) -> None:
    section, where, room = change(fed)
    store = Store.open(tmp_path / "store")
    with pytest.raises(error) as raised, fed_snapshot(section, ShardPlace(where, room), store):  # type: ignore[arg-type]
        pass
    assert said in str(raised.value)
    assert not list(store.cache.joinpath("feeds").glob("*"))


# -- a launcher that dies

LAUNCHER = """
import sys, time
from pathlib import Path
from reprise.feed.snapshot import ShardPlace, fed_snapshot
from reprise.store import Store
from reprise_trainer.config.data import StoreSection
where, room, digest, folder = sys.argv[1:]
section = StoreSection(kind="store", name="fashion-mnist", snapshot=digest, order="shards")
with (
    fed_snapshot(section, ShardPlace(where, int(room)), Store.open(Path(folder, "store"))) as snapshot,
    snapshot.serving(Path(folder, "launch")),
):
    print(snapshot.folder, flush=True)
    time.sleep(1000)
"""


def test_a_run_whose_launcher_was_killed_ends_with_one_message_and_goes_on(
    fed: Fed, trains: Trains, tmp_path: Path
) -> None:
    text = config(fed, steps=200)
    launch = tmp_path / "launch"
    launch.mkdir()
    dying = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, fed.where, str(fed.room()), fed.whole.digest, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert dying.stdout
    folder = Path(dying.stdout.readline().strip())
    argv = arguments(text, fed, tmp_path / "run", None)
    argv[argv.index(str(fed.whole.folder))] = str(folder)
    with subprocess.Popen(
        [*argv, "", "1", str(launch / "shards.sock")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout and run.stderr
        for line in run.stdout:
            if json.loads(line).get("step") == 30:
                dying.kill()
                dying.wait()
                break
        run.stdout.read()
        said = run.stderr.read()
    assert run.returncode == UnavailableError.exit_code, said
    assert said.count("error:") == 1 and "the launcher brings no more shards" in said and "--resume" in said
    assert folder.exists(), "a killed launcher leaves its folder; the next one removes it"

    (launch / "shards.sock").unlink()
    with launched(fed, tmp_path) as found:
        assert not folder.exists()
        ran = trains(text, fed, found)
    assert ran.code == 0, ran.error
    (first, second) = ran.result["attempts"]
    assert first[1] == 0 and second[1] >= 20 and second[2] == 200, "it went on from a checkpoint"
    assert ran.bits == trains(text, fed, output="whole").bits


def test_a_fed_run_that_is_stopped_goes_on_with_any_launcher(fed: Fed, trains: Trains, tmp_path: Path) -> None:
    text = config(fed, steps=200)
    with launched(fed, tmp_path) as found:
        argv = arguments(text, fed, tmp_path / "run", found)
        with subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout
            for line in run.stdout:
                if json.loads(line).get("step") == 45:
                    os.kill(run.pid, signal.SIGTERM)
                    break
            run.stdout.read()
    assert run.returncode == 75
    ran = trains(text, fed, output="run")  # with the whole snapshot, this time
    assert ran.bits == trains(text, fed, output="whole").bits, ran.error


def test_a_trainer_without_a_launcher_says_so(fed: Fed, trains: Trains, tmp_path: Path) -> None:
    with launched(fed, tmp_path) as found:
        gone = Launched(found.snapshot, tmp_path)
        ran = trains(config(fed), fed, gone)
    assert ran.code == UnavailableError.exit_code
    assert ran.error.count("error:") == 1 and "the launcher does not answer" in ran.error
