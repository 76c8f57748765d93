"""A bundle is the same bytes from the same contents, an OCI layout to other tools, and a whole image to a host."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from servers import program
from small_image import Entry, make_image

from reprise.bundle.read import load_bundle
from reprise.bundle.write import write_bundle
from reprise.registry.origin import open_origin
from reprise.registry.pull import bring
from reprise.store import Store
from reprise.trust.verify import verify_image
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, NotFoundError
from reprise_trainer.identity.inventory import MANIFEST_TYPE
from reprise_trainer.identity.policy import write_policy

from .conftest import Members, Shipped


def test_the_image_is_whole_on_the_other_side_and_the_policy_holds(shipped: Shipped) -> None:
    loaded = load_bundle(shipped.file, shipped.there, check=shipped.check)
    assert loaded.image == shipped.digest == shipped.there.resolve("small")
    assert set(shipped.origin.listed()) <= set(shipped.there.listed())
    for digest in shipped.there.listed():
        manifest = shipped.there.manifest(digest)
        for blob in (manifest["config"], *manifest["layers"]):
            shipped.there.check(blob["digest"])
    assert verify_image(shipped.there, shipped.digest, shipped.policy).holds
    assert loaded.policy == write_policy(shipped.policy).encode()
    assert list((shipped.there.root / "partial").iterdir()) == []


def test_the_same_contents_are_the_same_bytes_whatever_store_they_come_from(shipped: Shipped, tmp_path: Path) -> None:
    load_bundle(shipped.file, shipped.there)
    again = tmp_path / "again.tar"
    write_bundle(shipped.there, shipped.digest, again, name="small", policy=write_policy(shipped.policy).encode())
    assert again.read_bytes() == shipped.file.read_bytes()


def test_a_bundle_has_nothing_of_the_machine_that_wrote_it(shipped: Shipped) -> None:
    listing = subprocess.run(
        ["tar", "--numeric-owner", "--full-time", "-tvf", str(shipped.file)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    names = [line.split()[-1] for line in listing]
    assert names == ["oci-layout", "index.json", *sorted(names[2:])]
    assert {tuple(line.split()[:2]) for line in listing} == {("-rw-r--r--", "0/0")}
    assert all("1970-01-01" in line or "1969-12-31" in line for line in listing)


def test_a_bundle_that_was_not_judged_moves_no_name(shipped: Shipped) -> None:
    mine = make_image(shipped.there, {"base": {"etc/name": Entry(b"mine")}}, tag="small").digest
    assert load_bundle(shipped.file, shipped.there).name == ""
    assert shipped.there.resolve("small") == mine and shipped.digest in shipped.there.listed()
    load_bundle(shipped.file, shipped.there, check=shipped.check)
    assert shipped.there.resolve("small") == shipped.digest


def test_an_index_of_images_goes_whole(shipped: Shipped) -> None:
    kind = "application/vnd.oci.image.index.v1+json"
    size = len(shipped.origin.read(shipped.digest))
    entry = {"mediaType": MANIFEST_TYPE, "digest": shipped.digest, "size": size}
    data = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}).encode()
    index = shipped.origin.put_manifest(data, kind)
    write_bundle(shipped.origin, index, shipped.file)
    assert load_bundle(shipped.file, shipped.there).image == index
    assert {index, shipped.digest} <= set(shipped.there.listed())


def test_loading_twice_brings_nothing_new(shipped: Shipped) -> None:
    first, second = load_bundle(shipped.file, shipped.there), load_bundle(shipped.file, shipped.there)
    assert first.blobs > 0 and (second.blobs, second.bytes) == (0, 0)


def test_a_load_that_fails_meanwhile_takes_nothing_from_another(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_file, met = Store.add_file, []

    def meanwhile(store: Store, path: Path, digest: str) -> None:
        if not met:  # the first blob is written and not yet in the store
            met.append(digest)
            damaged = replace(shipped, file=tmp_path / "damaged.tar")
            shutil.copy(shipped.file, damaged.file)
            damaged.spoil(lambda members: spoil_blob(members, digest))
            with pytest.raises(InputError, match=f"{digest} has digest"):
                load_bundle(damaged.file, shipped.there)
        add_file(store, path, digest)

    monkeypatch.setattr(Store, "add_file", meanwhile)
    assert load_bundle(shipped.file, shipped.there, check=shipped.check).image == shipped.digest
    shipped.there.check(met[0])
    assert list((shipped.there.root / "partial").iterdir()) == []


def spoil_blob(members: Members, digest: str) -> None:
    """Change a blob's first byte."""
    members[:] = [
        (info, bytes([data[0] ^ 1]) + data[1:] if info.name.endswith(digest[7:]) else data) for info, data in members
    ]


def test_data_come_along_under_their_digest(shipped: Shipped) -> None:
    digest = shipped.origin.add(b"a data set")
    write_bundle(shipped.origin, shipped.digest, shipped.file, data=[("set.deb", digest)])
    load_bundle(shipped.file, shipped.there)
    assert shipped.there.read(digest) == b"a data set"
    with pytest.raises(NotFoundError, match=r"lacks the data other\.deb"):
        write_bundle(shipped.origin, shipped.digest, shipped.file, data=[("other.deb", sha256_digest(b"other"))])


def test_skopeo_reads_the_image_out_of_it(shipped: Shipped, tmp_path: Path) -> None:
    skopeo = program("skopeo", "skopeo")
    raw = subprocess.run(
        [skopeo, "inspect", "--raw", f"oci-archive:{shipped.file}:small"], capture_output=True, check=True
    ).stdout
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == shipped.digest
    copy = [
        "copy",
        "--insecure-policy",
        "--preserve-digests",
        f"oci-archive:{shipped.file}:small",
        f"oci:{tmp_path}/copied",
    ]
    subprocess.run([skopeo, *copy], capture_output=True, check=True)
    layers = [layer["digest"] for layer in shipped.origin.manifest(shipped.digest)["layers"]]
    assert all((tmp_path / "copied" / "blobs" / "sha256" / each[7:]).is_file() for each in layers)


def test_what_reads_layouts_reads_bundles(shipped: Shipped) -> None:
    with open_origin(str(shipped.file), shipped.there.root / "partial", which="small") as origin:
        bring(origin, shipped.there)
    assert verify_image(shipped.there, shipped.digest, shipped.policy).holds


def test_a_file_that_can_not_be_written_leaves_nothing(shipped: Shipped, small_disk: Path) -> None:
    digest = shipped.origin.add(bytes(5_000_000))
    with pytest.raises(Exception, match=r"No space left|full"):
        write_bundle(shipped.origin, shipped.digest, small_disk / "x.tar", data=[("big", digest)])
    assert list(small_disk.iterdir()) == []


def test_a_store_with_a_rotten_layer_gives_no_bundle(shipped: Shipped, tmp_path: Path) -> None:
    layer = shipped.origin.path(shipped.origin.manifest(shipped.digest)["layers"][1]["digest"])
    layer.write_bytes(layer.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="is damaged"):
        write_bundle(shipped.origin, shipped.digest, tmp_path / "new.tar")
    assert not (tmp_path / "new.tar").exists()


def test_the_index_is_an_oci_index(shipped: Shipped) -> None:
    with open_origin(str(shipped.file), shipped.there.root / "partial", which="small") as origin:
        index = json.loads((origin.layout.root / "index.json").read_bytes())  # type: ignore[attr-defined]
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    sizes = {each["digest"]: each["size"] for each in index["manifests"]}
    assert sizes[shipped.digest] == len(shipped.origin.read(shipped.digest))
