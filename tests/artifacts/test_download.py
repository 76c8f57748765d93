"""Downloads: resumed, hashed on the way, and never half in the store."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.artifacts.conftest import deb, leftovers
from tests.support.loopback import Site

from reprise.artifacts.fetch import fetch
from reprise.lock.model import Artifact, Sources
from reprise.store import Store
from reprise_trainer.errors import InputError, StorageError, UnavailableError

DATA = random.Random(1).randbytes(300_000)


def put(site: Site, artifact: Artifact, data: bytes = DATA) -> Sources:
    site.files[f"/debian/{artifact.location}"] = data
    return Sources(debian_mirror=site.url("/debian"))


def test_bytes_come_into_the_store(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    report = fetch([artifact], store, put(site, artifact))
    assert store.read(artifact.digest) == DATA
    assert (report.bytes, report.fetched[0].url) == (len(DATA), site.url(f"/debian/{artifact.location}"))
    assert leftovers(store) == []


def test_a_dropped_connection_is_resumed_where_it_stopped(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    sources = put(site, artifact)
    site.drops[f"/debian/{artifact.location}"] = [100_000, 50_000]
    fetch([artifact], store, sources)
    assert store.read(artifact.digest) == DATA
    assert [wanted for _, wanted in site.asked] == ["", "bytes=100000-", "bytes=150000-"]


def test_many_drops_are_no_reason_to_give_up_while_bytes_come(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    sources = put(site, artifact)
    site.drops[f"/debian/{artifact.location}"] = [50_000] * 5
    fetch([artifact], store, sources)
    assert len(site.asked) == 6


def test_a_server_without_ranges_gives_the_whole_file_again(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    sources = put(site, artifact)
    site.ranges = False
    site.drops[f"/debian/{artifact.location}"] = [100_000]
    fetch([artifact], store, sources)
    assert store.read(artifact.digest) == DATA


def test_a_server_that_sends_another_range_than_asked_for_spoils_nothing(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    sources = put(site, artifact)
    site.lying_ranges = True
    site.drops[f"/debian/{artifact.location}"] = [100_000]
    with pytest.raises(UnavailableError, match="another part of the file"):
        fetch([artifact], store, sources)
    assert not store.has(artifact.digest)
    assert leftovers(store) == []


def test_an_early_end_is_seen_although_the_server_told_no_length(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    sources = put(site, artifact)
    site.tells_length = False
    site.drops[f"/debian/{artifact.location}"] = [100_000]
    fetch([artifact], store, sources)
    assert [wanted for _, wanted in site.asked] == ["", "bytes=100000-"]


def test_a_busy_server_is_asked_again(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    sources = put(site, artifact)
    site.statuses[f"/debian/{artifact.location}"] = [503, 429]
    fetch([artifact], store, sources)
    assert len(site.asked) == 3


def test_a_truncated_file_never_gets_into_the_store(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    sources = put(site, artifact, DATA[:-1])
    with pytest.raises(InputError, match=r"pkg:deb/debian/libthing.*received sha256:"):
        fetch([artifact], store, sources)
    assert not store.has(artifact.digest)
    assert leftovers(store) == []


def test_what_a_killed_process_left_is_used(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    store.partial(artifact.digest).write_bytes(DATA[:200_000])
    fetch([artifact], store, put(site, artifact))
    assert site.asked == [(f"/debian/{artifact.location}", "bytes=200000-")]
    assert store.read(artifact.digest) == DATA


def test_a_complete_partial_file_needs_no_place(store: Store) -> None:
    artifact = deb(DATA)
    store.partial(artifact.digest).write_bytes(DATA)
    fetch([artifact], store, Sources())
    assert store.read(artifact.digest) == DATA


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(left=st.binary(max_size=400) | st.integers(0, 250).map(lambda n: DATA[:n]), ranges=st.booleans())
def test_whatever_was_left_behind_the_bytes_are_right(site: Site, store: Store, left: bytes, ranges: bool) -> None:
    data = DATA[:250]
    artifact = deb(data)
    sources = put(site, artifact, data)
    site.ranges = ranges
    store.partial(artifact.digest).write_bytes(left)
    if store.has(artifact.digest):
        store.path(artifact.digest).unlink()
    fetch([artifact], store, sources)
    assert store.read(artifact.digest) == data
    assert leftovers(store) == []


def test_two_fetches_of_one_artifact_download_it_once(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    sources = put(site, artifact)
    site.slow = 0.05
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: fetch([artifact], store, sources), range(2)))
    assert len(site.asked) == 1
    assert store.read(artifact.digest) == DATA


SCRIPT = """
import sys
from pathlib import Path
from reprise.artifacts.fetch import fetch
from reprise.lock.model import Artifact, Sources
from reprise.store import Store
purl, sha256, location, root, mirror = sys.argv[1:]
fetch([Artifact(purl, sha256, location=location)], Store.open(Path(root)), Sources(debian_mirror=mirror))
"""


def test_a_process_killed_at_any_moment_leaves_a_store_that_the_next_one_completes(site: Site, store: Store) -> None:
    data = random.Random(2).randbytes(4_000_000)
    artifact = deb(data)
    sources = put(site, artifact, data)
    site.slow = 0.1  # six seconds for the whole file
    command = [sys.executable, "-c", SCRIPT, artifact.purl, artifact.sha256, artifact.location, str(store.root)]
    for moment in (0.0, 0.3, 0.6, 0.3):
        asked = len(site.asked)
        process = subprocess.Popen([*command, sources.debian_mirror])
        deadline = time.monotonic() + 30
        while len(site.asked) == asked and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not store.has(artifact.digest)
    site.slow = 0.0
    fetch([artifact], store, sources)
    assert store.read(artifact.digest) == data
    assert leftovers(store) == []
    assert site.asked[-1][1].startswith("bytes="), "the last one went on where the others were killed"


def test_a_full_disk_is_named_and_what_came_in_gives_way(site: Site, small_disk: Path) -> None:
    store = Store.open(small_disk / "store")
    data = random.Random(3).randbytes(6_000_000)
    artifact = deb(data)
    with pytest.raises(StorageError, match="partial"):
        fetch([artifact], store, put(site, artifact, data))
    assert leftovers(store) == []
    assert not store.has(artifact.digest)


def test_a_store_without_permission_is_named(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    folder = store.root / "partial"
    folder.rmdir()
    folder.write_text("in the way")
    with pytest.raises(StorageError, match="partial"):
        fetch([artifact], store, put(site, artifact))
    assert os.listdir(store.root / "blobs" / "sha256") == []  # noqa: PTH208


def test_progress_is_told_up_to_the_end(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    events: list[dict[str, object]] = []
    fetch([artifact], store, put(site, artifact), on_event=lambda event: events.append(dict(event)))
    assert events[-1] == {"event": "fetch", "purl": artifact.purl, "bytes": len(DATA), "total": len(DATA)}
    sizes = [int(str(event["bytes"])) for event in events]
    assert sizes == sorted(sizes)


def test_a_wrong_file_is_named_with_both_hashes_and_leaves_nothing(site: Site, store: Store) -> None:
    artifact = deb(DATA)
    other = deb(b"x" + DATA[1:])
    with pytest.raises(InputError) as raised:
        fetch([artifact], store, put(site, artifact, b"x" + DATA[1:]))
    for part in (artifact.purl, artifact.digest, other.digest, site.url(f"/debian/{artifact.location}")):
        assert part in str(raised.value)
    assert leftovers(store) == []
    assert not store.has(artifact.digest)
    assert not store.has(other.digest)
