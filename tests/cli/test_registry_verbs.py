"""`reprise push`, `pull`, `archive` and `build --offline` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from oci_registry import OciRegistry, serve_registry
from small_image import Entry, make_image

from reprise.engine.flat_copy import flat_copy
from reprise.engine.interface import ImageRef
from reprise.engine.unpack import folder_name, unpack_layers, unpacked_folder
from reprise.store import Store


def test_an_image_goes_there_and_comes_back(reprise: Any, tmp_path: Path) -> None:
    digest = make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}}).digest
    with serve_registry(OciRegistry()) as registry:
        reference = f"{registry.host}/team/small:1"
        planned = json.loads(reprise("push", "small", reference, "--dry-run", "--json").out)
        assert planned["dry_run"] and planned["blobs_uploaded"] == 3 and not registry.manifests
        pushed = reprise("push", "small", reference, "--json")
        said = json.loads(pushed.out)
        assert (said["reference"], said["tag"]) == (f"{registry.host}/team/small@{digest}", "1")
        again = json.loads(reprise("push", "small", said["reference"], "--json").out)
        assert (again["reference"], again["tag"]) == (said["reference"], "")  # by a digest alone: no tag moves
        assert "push" in pushed.err  # progress goes to stderr
        pulled = reprise("pull", reference, "--store", tmp_path / "other", "--tag", "mine", "--json")
        assert json.loads(pulled.out) | {"bytes": 0} == {
            "digest": digest,
            "tag": "mine",
            "manifests": 1,
            "blobs_present": 0,
            "blobs_fetched": 3,
            "bytes": 0,
            "skipped": [],
        }
        assert "manifests" in reprise("pull", reference, "--store", tmp_path / "other", "--unpack").out
    other = Store(tmp_path / "other")
    assert other.resolve("mine") == digest
    base = unpacked_folder(other) / folder_name(ImageRef(other, digest).layers()[0])
    assert (base / "etc" / "name").read_bytes() == b"x"


def test_a_signature_for_a_repository_is_put_where_older_tools_look(reprise: Any, tmp_path: Path) -> None:
    digest = make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}}).digest
    with serve_registry(OciRegistry()) as registry:
        repository = f"{registry.host}/team/small"
        signed = json.loads(reprise("sign", "small", "--repository", repository, "--json").out)
        assert f"signature for {repository}" in signed
        pushed = json.loads(reprise("push", "small", f"{repository}:1", "--json").out)
        assert pushed["older_signatures_put"] == 1
        assert ("team/small", f"{digest.replace(':', '-')}.sig") in registry.manifests
    assert "--repository" in reprise("sign", "small", "--keyless", "--repository", repository).err
    assert "without tag" in reprise("sign", "small", "--repository", f"{repository}:1").err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["push", "torch-cpu", "no-host/x:1"], 65, "it names no registry"),
        (["pull", "127.0.0.1:5/UPPER:1"], 65, "not a repository's name"),
        (["pull", "127.0.0.1:5/a@sha256:12"], 65, "not a digest"),
        (["pull", "127.0.0.1:5/a:1", "--ca", "none.crt"], 65, "none.crt"),
        (["pull", "127.0.0.1:1/a:1"], 69, "gives no answer"),
        (["build", "torch-cpu", "--from", "x"], 2, "Add --offline"),
        (["build", "torch-cpu", "--offline"], 69, "--from"),
        (["build", "torch-cpu", "--offline", "--from", "nowhere"], 65, "neither a folder"),
    ],
)
def test_what_is_wrong_is_one_message(reprise: Any, arguments: list[str], code: int, said: str) -> None:
    done = reprise(*arguments)
    assert done.code == code, done.err
    assert said in done.err and done.err.count("error:") == 1


def test_an_image_that_reprise_did_not_build_gets_no_archive(reprise: Any, tmp_path: Path) -> None:
    make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}})
    done = reprise("archive", "small")
    assert (done.code in (65, 66) and "small" in done.err) or "label" in done.err


def test_unpacked_images_that_nothing_needs_are_named_first_and_then_removed(reprise: Any, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    old = make_image(store, {"base": {"etc/name": Entry(b"old")}}).digest
    image = ImageRef(store, old)
    flat_copy(image, unpack_layers(store, image.layers()))
    make_image(store, {"base": {"etc/name": Entry(b"new")}})
    planned = reprise("prune", "--dry-run")
    assert planned.code == 0 and f"would remove image  {old}" in planned.out
    done = json.loads(reprise("prune", "--json").out)
    assert {"kind": "image", "digest": old} in done["removed"] and done["bytes"] > 0
    assert json.loads(reprise("prune", "--json").out)["removed"] == []
