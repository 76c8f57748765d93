"""The whole graph arrives, and nothing that is there is sent or fetched again."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from oci_registry import Fault, OciRegistry
from oci_registry_api import RegistryHandler
from small_image import Entry, make_image

from reprise.registry import upload
from reprise.registry.origin import open_origin
from reprise.registry.pull import bring, pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise_trainer.errors import InputError, NotFoundError, UnavailableError
from reprise_trainer.identity.inventory import MANIFEST_TYPE

from .conftest import whole_image


def at(host: str, path: str = "team/small:1") -> Any:
    return parse_reference(f"{host}/{path}")


def test_an_image_comes_back_with_all_that_refers_to_it(image: Any, host: str, tmp_path: Path) -> None:
    pushed = push(image.store, image.digest, at(host, "round/trip:1"))
    assert pushed.reference == f"{host}/round/trip@{image.digest}"
    assert len(pushed.manifests) == 5
    fresh = Store.open(tmp_path / "fresh")
    report = pull(at(host, "round/trip:1"), fresh)
    assert report.digest == image.digest == fresh.resolve(f"{host}/round/trip:1")
    assert set(fresh.listed()) == {image.digest, *image.referrers.values()}
    for digest in fresh.listed():
        manifest = fresh.manifest(digest)
        for blob in (manifest["config"], *manifest["layers"]):
            fresh.check(blob["digest"])
    assert report.skipped == []
    assert report.bytes == pushed.bytes
    assert list((fresh.root / "partial").iterdir()) == []


def test_an_artifact_can_be_pushed_alone_with_what_refers_to_it(image: Any, host: str, tmp_path: Path) -> None:
    lock = image.referrers["lock"]
    push(image.store, lock, at(host, "artifact/alone:lock"))
    fresh = Store.open(tmp_path / "fresh")
    pull(at(host, "artifact/alone:lock"), fresh)
    assert set(fresh.listed()) == {lock, image.referrers["of the lock"]}


def test_an_unchanged_image_is_pushed_again_by_head_requests_alone(
    image: Any, registry: OciRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(image.store, image.digest, at(registry.host))
    layers = [layer["digest"] for layer in image.store.manifest(image.digest)["layers"]]
    for layer in layers:
        os.truncate(image.store.path(layer), 0)  # whoever reads a layer now finds nothing
    registry.asked.clear()
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        report = push(image.store, image.digest, at(registry.host))
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.5
    assert registry.methods() == {"HEAD"}
    assert report.bytes == 0 and report.manifests == [] and report.uploaded == []


def test_without_the_api_too_head_requests_are_all(image: Any, registry: OciRegistry) -> None:
    registry.referrers_api = False
    push(image.store, image.digest, at(registry.host))
    registry.asked.clear()
    push(image.store, image.digest, at(registry.host))
    assert registry.methods() == {"HEAD"}


def test_a_changed_layer_is_all_that_moves(image: Any, host: str, tmp_path: Path) -> None:
    push(image.store, image.digest, at(host, "one/layer:1"))
    other = whole_image(image.store, more=b"changed")
    report = push(image.store, other.digest, at(host, "one/layer:2"))
    assert report.bytes < 20_000
    fresh = Store.open(tmp_path / "fresh")
    pull(at(host, "one/layer:1"), fresh)
    assert pull(at(host, "one/layer:2"), fresh).bytes == report.bytes


def test_another_repository_of_the_registry_gets_the_layers_without_a_byte(image: Any, host: str) -> None:
    push(image.store, image.digest, at(host, "mount/first:1"))
    report = push(image.store, image.digest, at(host, "mount/second:1"))
    assert (report.bytes, report.uploaded) == (0, [])
    assert len(report.mounted) == len(set(report.mounted)) >= 8


def test_a_memory_of_mounts_that_is_wrong_costs_no_more_than_sending(image: Any, registry: OciRegistry) -> None:
    push(image.store, image.digest, at(registry.host, "mount/first:1"))
    registry.blobs.clear()
    registry.manifests.clear()
    report = push(image.store, image.digest, at(registry.host, "mount/second:1"))
    assert report.mounted == [] and len(report.uploaded) >= 8


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_a_mount_that_the_registry_refuses_costs_no_more_than_sending(
    image: Any, registry: OciRegistry, status: int
) -> None:
    push(image.store, image.digest, at(registry.host, "mount/first:1"))
    registry.faults = [Fault("POST", "mount=", status=status, times=99)]
    report = push(image.store, image.digest, at(registry.host, "mount/second:1"))
    assert report.mounted == [] and len(report.uploaded) >= 8


@pytest.mark.parametrize(("manifest", "chunk"), [(200, 201), (202, 204)])
def test_another_status_of_success_than_the_spec_s_is_one_too(
    image: Any, registry: OciRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, manifest: int, chunk: int
) -> None:
    """Registries give these, as the lists of go-containerregistry's `remote.Write` show; all is read back anyway."""
    original = RegistryHandler.answer

    def answer(self: Any, status: int, body: bytes = b"", **headers: str) -> None:
        if status < 300 and self.command == "PUT" and "/manifests/" in self.path:
            status = manifest
        if status < 300 and self.command == "PATCH":
            status = chunk
        original(self, status, body, **headers)

    monkeypatch.setattr(RegistryHandler, "answer", answer)
    monkeypatch.setattr(upload, "CHUNK", 1 << 20)
    push(image.store, image.digest, at(registry.host))
    assert "PATCH" in registry.methods()
    assert pull(at(registry.host), Store.open(tmp_path / "fresh")).digest == image.digest


def test_a_dry_run_says_what_a_push_would_send_and_sends_nothing(image: Any, registry: OciRegistry) -> None:
    planned = push(image.store, image.digest, at(registry.host), dry_run=True)
    assert registry.methods() == {"HEAD"} and not registry.manifests
    done = push(image.store, image.digest, at(registry.host))
    assert (planned.bytes, sorted(planned.uploaded)) == (done.bytes, sorted(done.uploaded))
    assert planned.manifests == done.manifests


def test_layers_that_the_store_has_are_not_fetched(image: Any, registry: OciRegistry, tmp_path: Path) -> None:
    push(image.store, image.digest, at(registry.host))
    fresh = Store.open(tmp_path / "fresh")
    layer = image.store.manifest(image.digest)["layers"][1]["digest"]
    fresh.add(image.store.read(layer))
    registry.asked.clear()
    pull(at(registry.host), fresh)
    assert not [request for request in registry.asked if layer in request.path]


def test_many_referrers_come_over_all_pages(image: Any, registry: OciRegistry, tmp_path: Path) -> None:
    registry.page = 3
    for number in range(10):
        image.store.attach(image.digest, "application/vnd.test.v1", [("n", "text/plain", b"%d" % number)])
    push(image.store, image.digest, at(registry.host))
    fresh = Store.open(tmp_path / "fresh")
    pull(at(registry.host), fresh)
    assert set(fresh.listed()) == set(image.store.listed())


@pytest.mark.parametrize("status", [200, 400, 404, 405, 406, 501])
def test_whatever_a_registry_without_the_api_answers_there_is_the_tag(
    image: Any, registry: OciRegistry, tmp_path: Path, status: int
) -> None:
    """JFrog's says 406 (google/go-containerregistry#2026); others show a page of HTML (oras-project/oras-go#633)."""
    registry.referrers_api = False
    kind = {"Content-Type": "text/html; charset=utf-8"}
    registry.faults = [Fault("GET|HEAD", "/referrers/", status=status, headers=kind, times=99)]
    push(image.store, image.digest, at(registry.host))
    push(image.store, image.digest, at(registry.host))
    fresh = Store.open(tmp_path / "fresh")
    pull(at(registry.host), fresh)
    assert set(image.referrers.values()) <= set(fresh.listed())


def test_an_index_comes_with_its_images(image: Any, host: str, tmp_path: Path) -> None:
    other = make_image(image.store, {"base": {"etc/name": Entry(b"other")}}, tag="other")
    entries = [
        {"mediaType": MANIFEST_TYPE, "digest": digest, "size": len(image.store.read(digest))}
        for digest in (image.digest, other.digest)
    ]
    kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
    digest = image.store.put_manifest(index, kind, tag="both")
    push(image.store, digest, at(host, "two/images:1"))
    fresh = Store.open(tmp_path / "fresh")
    pull(at(host, "two/images:1"), fresh)
    assert {digest, image.digest, other.digest, *image.referrers.values()} == set(fresh.listed())


def test_a_moved_tag_leads_to_the_new_image_and_a_digest_to_the_old(image: Any, host: str, tmp_path: Path) -> None:
    push(image.store, image.digest, at(host, "moved/tag:1"))
    other = whole_image(image.store, more=b"new")
    push(image.store, other.digest, at(host, "moved/tag:1"))
    fresh = Store.open(tmp_path / "fresh")
    assert pull(at(host, "moved/tag:1"), fresh).digest == other.digest
    assert pull(at(host, f"moved/tag:1@{image.digest}"), fresh).digest == image.digest


def test_an_image_can_be_left_without_what_is_not_wanted(image: Any, host: str, tmp_path: Path) -> None:
    push(image.store, image.digest, at(host, "left/out:1"))
    fresh = Store.open(tmp_path / "fresh")
    pull(at(host, "left/out:1"), fresh, leave_out=["application/vnd.reprise.lock.v1"])
    assert set(fresh.listed()) == {image.digest, image.referrers["source"], image.referrers["signature"]}


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_a_layout_is_as_good_as_a_registry(image: Any, tmp_path: Path, form: str) -> None:
    place = image.store.root
    if form == "tar":
        place = Path(shutil.make_archive(str(tmp_path / "layout"), "tar", image.store.root))
    fresh = Store.open(tmp_path / "fresh")
    with open_origin(str(place), fresh.root / "partial") as origin:
        bring(origin, fresh, tag="small")
    assert set(fresh.listed()) == set(image.store.listed())
    assert fresh.resolve("small") == image.digest
    assert list((fresh.root / "partial").iterdir()) == []


def test_what_is_not_there_is_said_with_its_name(image: Any, host: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=f"{host}/no/such:9 is not in its registry"):
        pull(at(host, "no/such:9"), Store.open(tmp_path / "fresh"))


def test_a_registry_that_is_not_there_is_said(image: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 gives no answer"):
        pull(at("127.0.0.1:1"), Store.open(tmp_path / "fresh"))


def test_a_store_that_lacks_a_layer_sends_nothing(image: Any, registry: OciRegistry) -> None:
    image.store.path(image.store.manifest(image.digest)["layers"][1]["digest"]).unlink()
    with pytest.raises(NotFoundError, match="lacks"):
        push(image.store, image.digest, at(registry.host))
    assert registry.asked == []


def test_a_layer_that_rotted_on_disk_is_refused_and_named(image: Any, host: str) -> None:
    layer = image.store.path(image.store.manifest(image.digest)["layers"][1]["digest"])
    data = bytearray(layer.read_bytes())
    data[1000] ^= 1
    layer.write_bytes(data)
    with pytest.raises(InputError, match=rf"{layer.name} in .* is damaged"):
        push(image.store, image.digest, at(host, "rotten/layer:1"))


def test_a_reference_with_another_digest_is_refused(image: Any, registry: OciRegistry) -> None:
    with pytest.raises(InputError, match="names another digest"):
        push(image.store, image.digest, at(registry.host, f"a/b@{'sha256:' + '0' * 64}"))
