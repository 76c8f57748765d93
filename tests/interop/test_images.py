"""skopeo, podman and docker, the programs, on an image that we wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reprise.engine.docker import image_archive
from reprise.engine.interface import ImageRef


def test_skopeo_reads_the_store(skopeo: Any, signed_image: Any) -> None:
    seen = json.loads(skopeo("inspect", f"oci:{signed_image.store.root}:small").stdout)
    assert seen["Digest"] == signed_image.digest
    assert seen["Created"] == "2023-06-10T00:00:00Z"
    assert len(seen["Layers"]) == 2


def test_skopeo_copies_to_a_registry_and_keeps_the_digest(skopeo: Any, registry: Any, signed_image: Any) -> None:
    target = f"docker://{registry.host}/copied/small:1"
    source = f"oci:{signed_image.store.root}:small"
    skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", source, target)
    assert json.loads(skopeo("inspect", "--tls-verify=false", target).stdout)["Digest"] == signed_image.digest


def test_podman_pulls_from_a_registry_by_digest(podman: Any, registry: Any, signed_image: Any) -> None:
    reference = registry.push(signed_image.store, signed_image.digest, "pulled/small")
    podman("pull", "--tls-verify=false", reference)
    (seen,) = json.loads(podman("image", "inspect", reference).stdout)
    assert seen["Digest"] == signed_image.digest
    assert seen["Config"]["Entrypoint"] == ["/usr/bin/true"]


def test_podman_pulls_from_the_store(podman: Any, signed_image: Any) -> None:
    name = podman("pull", f"oci:{signed_image.store.root}:small").stdout.split()[-1]
    (seen,) = json.loads(podman("image", "inspect", name).stdout)
    assert seen["Digest"] == signed_image.digest


def test_docker_loads_the_archive_that_the_engine_makes_of_it(docker: Any, signed_image: Any, tmp_path: Path) -> None:
    # Docker before 23 reads no zstd layers, so that the engine gives it the layers uncompressed
    archive = tmp_path / "image.tar"
    pieces = image_archive(ImageRef(signed_image.store, signed_image.digest), "small:loaded")
    archive.write_bytes(b"".join(pieces))
    docker("load", "--input", str(archive))
    (seen,) = json.loads(docker("image", "inspect", "small:loaded").stdout)
    config = json.loads(signed_image.store.read(signed_image.store.manifest(signed_image.digest)["config"]["digest"]))
    assert seen["RootFS"]["Layers"] == config["rootfs"]["diff_ids"]
    assert seen["Config"]["Entrypoint"] == config["config"]["Entrypoint"]
