"""Registries that drop, stall, refuse, lie and overlap: a push and a pull get through, or say what is wrong."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from oci_registry import Fault, OciRegistry

from reprise.registry import referrers, upload
from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.registry.repository import open_repository
from reprise.store import Store
from reprise_trainer.errors import DoesNotHoldError, InputError, UnavailableError


def at(host: str, path: str = "team/small:1") -> Any:
    return parse_reference(f"{host}/{path}")


def noise(image: Any) -> dict[str, Any]:
    """The descriptor of the image's one large layer."""
    return dict(max(image.store.manifest(image.digest)["layers"], key=lambda layer: layer["size"]))


def pushed_whole(registry: OciRegistry, image: Any, tmp_path: Path) -> bool:
    fresh = Store.open(tmp_path / "check")
    pull(at(registry.host), fresh)
    return set(fresh.listed()) == {image.digest, *image.referrers.values()}


@pytest.mark.parametrize("drop", [0, 1, 1_000_000, 2_999_000])
def test_an_upload_goes_on_where_the_connection_dropped(
    image: Any, registry: OciRegistry, tmp_path: Path, drop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "CHUNK", 1 << 20)
    registry.faults = [Fault("PATCH|PUT", "/blobs/uploads/", drop=drop, times=1)]
    report = push(image.store, image.digest, at(registry.host))
    assert pushed_whole(registry, image, tmp_path)
    blobs = {digest: len(data) for (_, digest), data in registry.blobs.items()}
    assert report.bytes == sum(blobs.values())


def test_what_has_arrived_is_not_sent_again(
    image: Any, registry: OciRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "CHUNK", 1 << 20)
    registry.faults = [Fault("PATCH", "/blobs/uploads/", drop=600_000, times=3)]
    push(image.store, image.digest, at(registry.host))
    starts = [
        int(request.headers["Content-Range"].partition("-")[0])
        for request in registry.asked
        if request.method == "PATCH"
    ]
    assert starts == sorted(starts) and len(starts) == len(set(starts)) >= 4
    assert starts[1] == 600_000


def test_an_upload_that_the_registry_forgot_starts_anew(
    image: Any, registry: OciRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "CHUNK", 1 << 20)
    registry.faults = [
        Fault("PATCH", "/blobs/uploads/", drop=500_000),
        Fault("GET", "/blobs/uploads/", status=404),
    ]
    push(image.store, image.digest, at(registry.host))
    assert pushed_whole(registry, image, tmp_path)


def test_an_answer_that_was_lost_after_the_last_byte_is_no_failure(
    image: Any, registry: OciRegistry, tmp_path: Path
) -> None:
    layer = noise(image)
    kept: list[bool] = []
    original = type(registry).fault

    def lose(self: OciRegistry, method: str, path: str) -> Fault:
        if method == "PUT" and layer["digest"] in path and not kept:
            kept.append(True)
            self.blobs["team/small", layer["digest"]] = image.store.read(layer["digest"])
            del self.uploads[path.partition("?")[0].rpartition("/")[2]]
            return Fault("", "", status=503)
        return original(self, method, path)

    type(registry).fault = lose  # type: ignore[method-assign]
    try:
        push(image.store, image.digest, at(registry.host))
    finally:
        type(registry).fault = original  # type: ignore[method-assign]
    assert kept and pushed_whole(registry, image, tmp_path)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_registry_is_asked_again(image: Any, registry: OciRegistry, tmp_path: Path, status: int) -> None:
    registry.faults = [Fault("POST|PUT|HEAD|GET", "", status=status, times=3)]
    push(image.store, image.digest, at(registry.host))
    registry.faults = [Fault("GET", "", status=status, times=3)]
    assert pushed_whole(registry, image, tmp_path)


def test_a_registry_is_left_alone_for_as_long_as_it_asks(image: Any, registry: OciRegistry) -> None:
    registry.faults = [Fault("POST", "/blobs/uploads/", status=429, headers={"Retry-After": "2"})]
    started = time.monotonic()
    push(image.store, image.digest, at(registry.host))
    assert time.monotonic() - started >= 2


def test_a_registry_may_name_the_time_to_come_back(image: Any, registry: OciRegistry) -> None:
    started = time.time()
    again = format_datetime(datetime.fromtimestamp(started + 3, UTC), usegmt=True)
    registry.faults = [Fault("POST", "/blobs/uploads/", status=503, headers={"Retry-After": again})]
    push(image.store, image.digest, at(registry.host))
    assert time.time() >= int(started) + 3


def test_a_registry_that_asks_for_an_hour_is_not_waited_for(image: Any, registry: OciRegistry) -> None:
    registry.faults = [Fault("POST", "/blobs/uploads/", status=429, headers={"Retry-After": "3600"}, times=99)]
    with pytest.raises(UnavailableError, match="after 3600 seconds"):
        push(image.store, image.digest, at(registry.host))


@pytest.mark.parametrize("code", ["DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN"])
def test_a_blob_that_another_push_is_writing_is_waited_for(
    image: Any, registry: OciRegistry, tmp_path: Path, code: str
) -> None:
    registry.faults = [Fault("PUT", "/manifests/", status=400, code=code, times=3)]
    push(image.store, image.digest, at(registry.host))
    assert pushed_whole(registry, image, tmp_path)


@pytest.mark.parametrize(("code", "tries"), [("MANIFEST_BLOB_UNKNOWN", 4), ("MANIFEST_INVALID", 1)])
def test_a_manifest_that_stays_refused_ends_the_push(
    image: Any, registry: OciRegistry, monkeypatch: pytest.MonkeyPatch, code: str, tries: int
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    registry.faults = [Fault("PUT", f"/manifests/{image.digest}", status=400, code=code, times=99)]
    with pytest.raises(InputError, match=code):
        push(image.store, image.digest, at(registry.host))
    puts = [each for each in registry.asked if each.method == "PUT" and each.path.endswith(image.digest)]
    assert len(puts) == tries


def test_a_registry_that_stays_broken_ends_the_push(
    image: Any, registry: OciRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    registry.faults = [Fault("PUT", "/blobs/uploads/", status=500, times=10_000)]
    with pytest.raises(UnavailableError, match="HTTP status 500"):
        push(image.store, image.digest, at(registry.host))
    assert not registry.manifests


def test_a_registry_that_takes_no_byte_of_a_chunk_ends_the_push(
    image: Any, registry: OciRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(upload, "CHUNK", 1 << 20)
    registry.faults = [Fault("PATCH", "/blobs/uploads/", status=202, headers={"Range": "0-0"}, times=50)]
    with pytest.raises(UnavailableError, match="it took none of 1048576 bytes"):
        push(image.store, image.digest, at(registry.host))
    assert len([request for request in registry.asked if request.method == "PATCH"]) == 4


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "does not say where"),
        ({"Location": "/v2/x", "OCI-Chunk-Min-Length": "many"}, "at least 'many' bytes, which is no number"),
        ({"Location": "/v2/x", "OCI-Chunk-Min-Length": "9" * 5000}, "which is no number"),
        ({"Location": "http://["}, r"sends us to 'http://\[', which is no address"),
    ],
)
def test_an_upload_that_is_opened_in_an_odd_way_is_refused(
    image: Any, registry: OciRegistry, headers: dict[str, str], said: str
) -> None:
    registry.faults = [Fault("POST", "/blobs/uploads/", status=202, headers=headers, times=99)]
    with pytest.raises(InputError, match=said):
        push(image.store, image.digest, at(registry.host))


@pytest.mark.parametrize("length", ["many", "\xb2", "9" * 5000])
def test_a_length_that_is_no_number_counts_for_nothing(
    image: Any, registry: OciRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: str
) -> None:
    monkeypatch.setattr("reprise.artifacts.download.TIMEOUT", (5.0, 1.0))  # the end of what has no length is a silence
    push(image.store, image.digest, at(registry.host))
    registry.faults = [Fault("HEAD", "/blobs/", status=200, headers={"Content-Length": length}, times=99)]
    assert push(image.store, image.digest, at(registry.host, "team/small:2")).uploaded == []
    blob = f"/blobs/{noise(image)['digest']}"
    registry.faults = [Fault("GET", blob, status=200, headers={"Content-Length": length}, times=1)]
    assert pushed_whole(registry, image, tmp_path)


def test_a_registry_that_loses_what_it_took_is_found_out(image: Any, registry: OciRegistry) -> None:
    registry.faults = [Fault("PUT", "/blobs/uploads/", status=201, times=1)]
    with pytest.raises(DoesNotHoldError, match="does not have it afterwards"):
        push(image.store, image.digest, at(registry.host))


def test_a_registry_that_gives_back_another_manifest_is_found_out(image: Any, registry: OciRegistry) -> None:
    registry.faults = [Fault("GET", f"/manifests/{image.digest}", cut=20, times=1)]
    with pytest.raises(DoesNotHoldError, match=f"when asked for {image.digest}"):
        push(image.store, image.digest, at(registry.host))


def test_a_registry_that_gives_back_another_bundle_is_found_out(image: Any, registry: OciRegistry) -> None:
    (bundle,) = image.store.manifest(image.referrers["signature"])["layers"]
    registry.faults = [Fault("GET", f"/blobs/{bundle['digest']}", cut=bundle["size"] - 1)]
    with pytest.raises(DoesNotHoldError, match=bundle["digest"]):
        push(image.store, image.digest, at(registry.host))


@pytest.mark.parametrize("drop", [0, 1, 1_500_000])
def test_a_pull_goes_on_where_the_connection_dropped(
    image: Any, registry: OciRegistry, tmp_path: Path, drop: int
) -> None:
    push(image.store, image.digest, at(registry.host))
    registry.faults = [Fault("GET", noise(image)["digest"], drop=drop)]
    assert pushed_whole(registry, image, tmp_path)


def test_an_interrupted_pull_fetches_only_what_is_missing(image: Any, registry: OciRegistry, tmp_path: Path) -> None:
    push(image.store, image.digest, at(registry.host))
    layer = noise(image)
    fresh = Store.open(tmp_path / "fresh")
    fresh.partial(layer["digest"]).write_bytes(image.store.read(layer["digest"])[:2_000_000])  # a process was killed
    registry.asked.clear()
    report = pull(at(registry.host), fresh)
    (asked,) = [request for request in registry.asked if layer["digest"] in request.path]
    assert asked.headers["Range"] == "bytes=2000000-"
    assert report.bytes < layer["size"] - 1_900_000
    fresh.check(layer["digest"])


def test_a_pull_that_was_killed_goes_on(image: Any, registry: OciRegistry, tmp_path: Path) -> None:
    push(image.store, image.digest, at(registry.host))
    layer = noise(image)
    registry.faults = [Fault("GET", layer["digest"], pace=0.1)]
    command = [sys.executable, "-m", "reprise", "pull", f"{registry.host}/team/small:1", "--store", str(tmp_path / "s")]
    process = subprocess.Popen(command)
    part = Store(tmp_path / "s").partial(layer["digest"])
    end = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 500_000):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    process.kill()
    process.wait()
    arrived = part.stat().st_size
    assert arrived < layer["size"]
    registry.asked.clear()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (asked,) = [request for request in registry.asked if layer["digest"] in request.path]
    assert asked.headers["Range"] == f"bytes={arrived}-"
    Store(tmp_path / "s").check(layer["digest"])


def test_two_pulls_at_once_bring_a_layer_once_and_leave_nothing_unfinished(
    image: Any, registry: OciRegistry, tmp_path: Path
) -> None:
    push(image.store, image.digest, at(registry.host))
    layer, fresh = noise(image)["digest"], Store.open(tmp_path / "fresh")
    registry.faults = [Fault("GET", layer, pace=0.02)]
    registry.asked.clear()
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: pull(at(registry.host), fresh), range(2)))
    assert {report.digest for report in reports} == {image.digest}
    assert len([request for request in registry.asked if layer in request.path]) == 1
    assert list((fresh.root / "partial").iterdir()) == []


def test_a_leftover_of_something_else_is_thrown_away(image: Any, registry: OciRegistry, tmp_path: Path) -> None:
    push(image.store, image.digest, at(registry.host))
    fresh = Store.open(tmp_path / "fresh")
    fresh.partial(noise(image)["digest"]).write_bytes(b"?" * 1000)
    pull(at(registry.host), fresh)
    fresh.check(noise(image)["digest"])


def test_a_layer_longer_than_promised_is_refused_before_it_fills_the_disk(
    image: Any, registry: OciRegistry, tmp_path: Path
) -> None:
    push(image.store, image.digest, at(registry.host))
    registry.faults = [Fault("GET", noise(image)["digest"], longer=bytes(50_000_000), times=9)]
    fresh = Store.open(tmp_path / "fresh")
    with pytest.raises(DoesNotHoldError, match="more than the"):
        pull(at(registry.host), fresh)
    assert sum(file.stat().st_size for file in (fresh.root / "partial").iterdir()) <= noise(image)["size"]


def test_a_layer_shorter_than_promised_is_refused(image: Any, registry: OciRegistry, tmp_path: Path) -> None:
    push(image.store, image.digest, at(registry.host))
    registry.faults = [Fault("GET", noise(image)["digest"], cut=1000, times=9)]
    with pytest.raises((DoesNotHoldError, UnavailableError), match=noise(image)["digest"]):
        pull(at(registry.host), Store.open(tmp_path / "fresh"))


def test_a_registry_that_says_another_size_is_refused(image: Any, registry: OciRegistry) -> None:
    layer = noise(image)["digest"]
    registry.blobs["team/small", layer] = b"short"
    with pytest.raises(InputError, match="has 5 bytes, not"):
        push(image.store, image.digest, at(registry.host))


def test_a_slow_registry_is_waited_for(image: Any, registry: OciRegistry, tmp_path: Path) -> None:
    registry.faults = [Fault("GET|HEAD|PUT", "", pause=0.3, times=10)]
    push(image.store, image.digest, at(registry.host))
    assert pushed_whole(registry, image, tmp_path)


@pytest.mark.parametrize("kind", ["docker-registry", "without the API"])
def test_writers_at_once_lose_nothing_of_the_fallback_index(
    image: Any, registry: OciRegistry, plain_registry: str, tmp_path: Path, kind: str
) -> None:
    registry.referrers_api = False
    host = plain_registry if kind == "docker-registry" else registry.host
    push(image.store, image.digest, at(host, "many/writers:1"))
    stores = []
    for number in range(5):
        store = Store.open(tmp_path / f"store-{number}")
        pull(at(host, "many/writers:1"), store)
        store.attach(image.digest, "application/vnd.test.v1", [("n", "text/plain", b"writer %d" % number)])
        stores.append(store)
    failures: list[BaseException] = []

    def write(store: Store) -> None:
        try:
            push(store, image.digest, at(host, "many/writers:1"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    listed = referrers.list_referrers(open_repository(at(host, "many/writers:1")), image.digest)
    written = {digest for store in stores for digest in store.listed()} - {image.digest, image.referrers["of the lock"]}
    assert {each.digest for each in listed} == written


def test_an_index_that_another_tool_filled_in_wrongly_is_added_to_and_kept(
    image: Any, registry: OciRegistry, tmp_path: Path
) -> None:
    import json

    registry.referrers_api = False
    push(image.store, image.digest, at(registry.host))
    tag = referrers.fallback_tag(image.digest)
    body, kind = registry.manifests["team/small", tag]
    index = json.loads(body)
    for entry in index["manifests"]:
        entry["artifactType"] = "application/vnd.oci.empty.v1+json"  # as cosign 3.1.1 does
        entry["annotations"] = {"theirs": "kept"}
    registry.manifests["team/small", tag] = (json.dumps(index).encode(), kind)
    new = image.store.attach(image.digest, "application/vnd.test.v1", [("n", "text/plain", b"new")])
    push(image.store, image.digest, at(registry.host))
    entries = json.loads(registry.manifests["team/small", tag][0])["manifests"]
    assert [each for each in entries if each["digest"] != new] == index["manifests"]
    assert new in {each["digest"] for each in entries}
