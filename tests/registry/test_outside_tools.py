"""skopeo, podman, docker and cosign, the programs, on what `push` wrote; and `pull` on what skopeo wrote."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from tests.interop.conftest import cosign, docker, key_options, podman, put_image, skopeo
from tests.interop.conftest import runner as run_program

from reprise.registry.manifest import DOCKER_MANIFEST_TYPE
from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.identity.inventory import MANIFEST_TYPE, inventory_layer

__all__ = ["cosign", "docker", "podman", "skopeo"]  # fixtures


def at(host: str, path: str) -> Any:
    return parse_reference(f"{host}/{path}")


def test_skopeo_sees_what_was_pushed(skopeo: Any, image: Any, host: str) -> None:
    push(image.store, image.digest, at(host, "seen/skopeo:1"))
    seen = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{host}/seen/skopeo:1").stdout)
    assert seen["Digest"] == image.digest
    assert seen["Layers"] == [layer["digest"] for layer in image.store.manifest(image.digest)["layers"]]


def test_podman_pulls_what_was_pushed(podman: Any, image: Any, host: str) -> None:
    reference = push(image.store, image.digest, at(host, "seen/podman:1")).reference
    podman("pull", "--tls-verify=false", reference)
    (seen,) = json.loads(podman("image", "inspect", reference).stdout)
    assert seen["Digest"] == image.digest


def test_docker_finds_what_was_pushed(docker: Any, image: Any, plain_registry: str) -> None:
    # docker before 23 unpacks no zstd layers, so it is asked for the manifest alone
    reference = push(image.store, image.digest, at(plain_registry, "seen/docker:1")).reference
    seen = json.loads(docker("manifest", "inspect", "--insecure", reference).stdout)
    assert seen["config"] == image.store.manifest(image.digest)["config"]


def test_what_skopeo_pushed_is_pulled(skopeo: Any, host: str, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "theirs")
    digest = put_image(store, "small")
    skopeo(
        *("copy", "--preserve-digests", "--dest-tls-verify=false"),
        *(f"oci:{store.root}:small", f"docker://{host}/theirs/small:1"),
    )
    fresh = Store.open(tmp_path / "fresh")
    assert pull(at(host, "theirs/small:1"), fresh).digest == digest
    assert fresh.listed() == [digest]


def test_a_manifest_in_docker_s_own_format_is_pulled(skopeo: Any, host: str, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "theirs")
    tar = inventory_layer(b"gzip")
    packed = gzip.compress(tar)
    config = canonical_json(
        {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha256_digest(tar)]}}
    )
    oci = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": f"{oci}.config.v1+json", "digest": store.add(config), "size": len(config)},
        "layers": [{"mediaType": f"{oci}.layer.v1.tar+gzip", "digest": store.add(packed), "size": len(packed)}],
    }
    store.put_manifest(canonical_json(manifest), tag="small")
    target = f"docker://{host}/theirs/older:1"
    skopeo("copy", "--format=v2s2", "--dest-tls-verify=false", f"oci:{store.root}:small", target)
    fresh = Store.open(tmp_path / "fresh")
    report = pull(at(host, "theirs/older:1"), fresh)
    assert fresh.manifest(report.digest)["mediaType"] == DOCKER_MANIFEST_TYPE
    assert fresh.read(sha256_digest(packed)) == packed


def test_cosign_verifies_the_signature_that_was_pushed(cosign: Any, image: Any, host: str, tmp_path: Path) -> None:
    reference = push(image.store, image.digest, at(host, "seen/cosign:1")).reference
    printed = cosign("verify", *key_options(tmp_path, image.key), reference)
    (claim,) = json.loads(printed.stdout)
    assert claim["critical"]["image"]["docker-manifest-digest"] == image.digest


def test_a_signature_by_cosign_is_pulled_and_ours_survives(cosign: Any, image: Any, host: str, tmp_path: Path) -> None:
    reference = push(image.store, image.digest, at(host, "both/sign:1")).reference
    config, root, key = tmp_path / "signing.json", tmp_path / "root.json", tmp_path / "theirs"
    config.write_text(
        '{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","rekorTlogConfig":{},"tsaConfig":{}}'
    )
    root.write_text('{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    cosign("generate-key-pair", "--output-key-prefix", str(key))
    offline = ["--signing-config", str(config), "--trusted-root", str(root)]
    cosign("sign", "-y", "--key", f"{key}.key", *offline, reference)
    push(image.store, image.digest, at(host, "both/sign:1"))
    fresh = Store.open(tmp_path / "fresh")
    report = pull(at(host, "both/sign:1"), fresh)
    assert len(fresh.listed()) == len(image.store.listed()) + 1 and report.skipped == []
    ours = key_options(tmp_path, image.key)
    theirs = ["--key", f"{key}.pub", *ours[2:]]
    for options in (ours, theirs):
        cosign("verify", *options, reference)


def test_podman_s_login_is_used(podman: Any, image: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from servers import docker_registry

    from .test_auth import HTPASSWD

    with (
        docker_registry(tmp_path / "guarded", htpasswd=HTPASSWD) as guarded,
        tempfile.TemporaryDirectory(prefix="podman-") as short,  # it wants a short path for what it keeps while it runs
    ):
        file = tmp_path / "auth.json"
        own = ("--root", str(tmp_path / "podman"), "--runroot", short, "--storage-driver", "vfs")
        login = run_program("podman", *own, "login", env={**os.environ, "REGISTRY_AUTH_FILE": str(file)})
        login("--tls-verify=false", "-u", "me", "-p", "secret", guarded)
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))
        push(image.store, image.digest, at(guarded, "logged/in:1"))
