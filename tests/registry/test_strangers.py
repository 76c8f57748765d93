"""What anybody may have put into a repository, and what a registry may claim, is not believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from oci_registry import OciRegistry

from reprise.registry.older_signatures import signature_tag
from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.registry.referrers import fallback_tag
from reprise.store import Store
from reprise.store.index_entries import TAG
from reprise.store.layout import INDEX_TYPE
from reprise.trust.simple_signing import sign_simply
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError
from reprise_trainer.identity.inventory import MANIFEST_TYPE

from .conftest import whole_image


def at(host: str, path: str = "team/small:1") -> Any:
    return parse_reference(f"{host}/{path}")


@pytest.mark.parametrize("lie", [{"size": 5}, {"mediaType": "application/vnd.oci.image.index.v1+json"}])
def test_an_index_that_lies_about_an_image_is_refused(
    image: Any, registry: OciRegistry, tmp_path: Path, lie: dict[str, Any]
) -> None:
    push(image.store, image.digest, at(registry.host))
    size = len(image.store.read(image.digest))
    entry = {"mediaType": MANIFEST_TYPE, "digest": image.digest, "size": size, **lie}
    kind = "application/vnd.oci.image.index.v1+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}).encode()
    registry.manifests["team/small", "lying"] = (index, kind)
    with pytest.raises(InputError, match="but it is"):
        pull(at(registry.host, "team/small:lying"), Store.open(tmp_path / "fresh"))


def test_a_stranger_s_annotation_takes_no_name_in_the_store(image: Any, host: str, tmp_path: Path) -> None:
    image.store.attach(image.digest, "application/vnd.test.v1", [("n", "text/plain", b"x")], {TAG: "torch-cpu"})
    push(image.store, image.digest, at(host, "named/tag:1"))
    fresh = Store.open(tmp_path / "fresh")
    pull(at(host, "named/tag:1"), fresh)
    with pytest.raises(NotFoundError):
        fresh.resolve("torch-cpu")


def test_an_annotation_with_half_a_character_is_left_out_and_said(
    image: Any, registry: OciRegistry, tmp_path: Path
) -> None:
    push(image.store, image.digest, at(registry.host))
    real, kind = registry.manifests["team/small", image.referrers["source"]]
    odd = json.dumps({**json.loads(real), "annotations": {"a": "\ud800"}}).encode()
    registry.manifests["team/small", sha256_digest(odd)] = (odd, kind)  # the registry's list has the annotation, too
    fresh = Store.open(tmp_path / "fresh")
    (said,) = pull(at(registry.host), fresh).skipped
    assert said.startswith(sha256_digest(odd)) and said.endswith("has half a surrogate pair in a string")
    assert set(image.referrers.values()) <= set(fresh.listed())


def test_a_broken_referrer_is_left_out_and_said(image: Any, registry: OciRegistry, tmp_path: Path) -> None:
    push(image.store, image.digest, at(registry.host))
    (blob,) = image.store.manifest(image.referrers["source"])["layers"]
    registry.blobs["team/small", blob["digest"]] = b"rat"
    fresh = Store.open(tmp_path / "fresh")
    report = pull(at(registry.host), fresh)
    (said,) = report.skipped
    assert said.startswith(image.referrers["source"]) and "gave sha256:" in said
    assert set(fresh.listed()) == {image.digest, *image.referrers.values()} - {image.referrers["source"]}


@pytest.mark.parametrize("more", [1, -1])
@pytest.mark.parametrize("already", [False, True])
def test_a_referrer_that_names_a_blob_with_another_size_is_left_out_alone(
    image: Any, registry: OciRegistry, tmp_path: Path, more: int, already: bool
) -> None:
    push(image.store, image.digest, at(registry.host))
    fresh = Store.open(tmp_path / "fresh")
    if already:
        pull(at(registry.host), fresh)
    layer = image.store.manifest(image.digest)["layers"][1]
    lock = image.store.manifest(image.referrers["lock"])
    said = []
    for own in (layer, lock["layers"][0], lock["config"]):  # the image's, and what other referrers hold
        wrong = {**own, "size": own["size"] + more}
        document = canonical_json({**lock, "artifactType": "application/vnd.test.v1", "layers": [wrong]})
        registry.manifests["team/small", sha256_digest(document)] = (document, MANIFEST_TYPE)
        said.append(sha256_digest(document))
    report = pull(at(registry.host), fresh)
    assert sorted(each.partition(": ")[0] for each in report.skipped) == sorted(said)
    assert all("bytes" in each for each in report.skipped)
    assert set(fresh.listed()) == {image.digest, *image.referrers.values()}
    fresh.check(layer["digest"])


@pytest.mark.parametrize("change", [b"other bytes", b""])
def test_a_layer_with_other_bytes_is_refused_and_leaves_no_image(
    image: Any, registry: OciRegistry, tmp_path: Path, change: bytes
) -> None:
    push(image.store, image.digest, at(registry.host))
    layer = image.store.manifest(image.digest)["layers"][1]
    held = registry.blobs["team/small", layer["digest"]]
    registry.blobs["team/small", layer["digest"]] = (change + held)[: len(held)] if change else held[:-1] + b"?"
    fresh = Store.open(tmp_path / "fresh")
    with pytest.raises(DoesNotHoldError, match=f"asked for {layer['digest']}"):
        pull(at(registry.host), fresh)
    assert fresh.listed() == [] and not fresh.has(layer["digest"])


def test_a_manifest_with_another_digest_is_refused(image: Any, registry: OciRegistry, tmp_path: Path) -> None:
    push(image.store, image.digest, at(registry.host))
    other = whole_image(image.store, more=b"other")
    push(image.store, other.digest, at(registry.host))
    registry.manifests["team/small", image.digest] = registry.manifests["team/small", other.digest]
    with pytest.raises(DoesNotHoldError, match=f"gave {other.digest} when asked for {image.digest}"):
        pull(at(registry.host, f"team/small@{image.digest}"), Store.open(tmp_path / "fresh"))


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"{" * 10, None, "not JSON"),
        (b'{"a":' * 200 + b"1" + b"}" * 200, None, "nested"),
        (b"[]", None, "not a JSON object"),
        (b"{}" + b" " * (5 << 20), None, "longer than"),
        (b'{"mediaType":"text/html"}', None, "media type"),
        (None, "application/vnd.oci.image.index.v1+json", "calls itself"),
        (b'{"config":{"digest":"sha256:../../etc","size":1},"layers":[]}', None, "not a sha256 digest"),
        (b'{"config":{"digest":"sha256:%s","size":-1},"layers":[]}' % (b"0" * 64), None, "bytes"),
        (b'{"config":{"digest":"sha256:%s","size":1e99},"layers":[]}' % (b"0" * 64), None, "bytes"),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    image: Any, registry: OciRegistry, tmp_path: Path, body: bytes | None, kind: str | None, said: str
) -> None:
    push(image.store, image.digest, at(registry.host))
    real, real_kind = registry.manifests["team/small", "1"]
    registry.manifests["team/small", "1"] = (real if body is None else body, kind or real_kind)
    with pytest.raises(InputError, match=said):
        pull(at(registry.host), Store.open(tmp_path / "fresh"))


def test_a_bundle_of_a_terabyte_is_left_out_and_said(image: Any, registry: OciRegistry, tmp_path: Path) -> None:
    push(image.store, image.digest, at(registry.host))
    real, kind = registry.manifests["team/small", image.referrers["signature"]]
    document = json.loads(real)
    document["layers"][0] |= {"size": 1 << 40, "digest": "sha256:" + "b" * 64}
    huge = json.dumps(document).encode()
    registry.manifests["team/small", sha256_digest(huge)] = (huge, kind)
    fresh = Store.open(tmp_path / "fresh")
    report = pull(at(registry.host), fresh)
    assert report.skipped == [f"{sha256_digest(huge)}: a bundle of {1 << 40} bytes; at most {16 << 20} are read"]
    assert fresh.has(image.referrers["signature"])


@pytest.mark.parametrize("body", [b'"layers":5', b'"layers":[]', b'"layers":[{"annotations":[]}]'])
def test_an_index_under_the_tag_of_signatures_holds_none(
    image: Any, registry: OciRegistry, tmp_path: Path, body: bytes
) -> None:
    push(image.store, image.digest, at(registry.host))
    index = b'{"schemaVersion":2,"mediaType":"%s","manifests":[],%s}' % (INDEX_TYPE.encode(), body)
    registry.manifests["team/small", signature_tag(image.digest)] = (index, INDEX_TYPE)
    said = f"{sha256_digest(index)} is an index, where a manifest of signatures belongs"
    fresh = Store.open(tmp_path / "fresh")
    assert pull(at(registry.host), fresh).skipped == [f"{signature_tag(image.digest)}: {said}"]
    sign_simply(image.store, image.digest, f"{registry.host}/team/small", image.key)
    with pytest.raises(InputError, match=said) as caught:
        push(image.store, image.digest, at(registry.host))
    assert signature_tag(image.digest) in caught.value.hint
    assert registry.manifests["team/small", signature_tag(image.digest)] == (index, INDEX_TYPE)


def test_what_is_no_index_under_the_tag_of_referrers_is_not_replaced(image: Any, registry: OciRegistry) -> None:
    registry.referrers_api = False
    body = json.dumps({**image.store.manifest(image.digest), "manifests": 5}).encode()
    registry.manifests["team/small", fallback_tag(image.digest)] = (body, MANIFEST_TYPE)
    with pytest.raises(InputError, match="is no index, where a list of referrers belongs"):
        push(image.store, image.digest, at(registry.host))
    assert registry.manifests["team/small", fallback_tag(image.digest)] == (body, MANIFEST_TYPE)


def test_a_referrer_that_points_elsewhere_is_not_taken(image: Any, registry: OciRegistry, tmp_path: Path) -> None:
    registry.referrers_api = False
    push(image.store, image.digest, at(registry.host))
    other = whole_image(image.store, more=b"other")
    push(image.store, other.digest, at(registry.host))
    lists = {tag: registry.manifests["team/small", fallback_tag(tag)] for tag in (image.digest, other.digest)}
    registry.manifests["team/small", fallback_tag(image.digest)] = lists[other.digest]
    fresh = Store.open(tmp_path / "fresh")
    pull(at(registry.host, f"team/small@{image.digest}"), fresh)
    assert fresh.listed() == [image.digest]
