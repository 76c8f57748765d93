"""An index of two images that oras, the program, made: signed, pushed, pulled and judged by us, read by other tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from oci_registry import OciRegistry, serve_registry

from reprise.bom.sign_all import Signed, sign_all
from reprise.host import obtain_image
from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.store.platforms import host_platform, image_for, images_of
from reprise.trust.export import export_policy, write_export
from reprise.trust.keys import make_key
from reprise.trust.sign import sign_image
from reprise.trust.simple_signing import sign_simply
from reprise.trust.verify_index import verify_whole
from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError
from reprise_trainer.identity.bundle import public_pem
from reprise_trainer.identity.policy import Policy, PolicyKey

from .conftest import key_options, put_image

MACHINES = ("amd64", "arm64")


@dataclass(frozen=True)
class Index:
    """An index in a repository and, pulled from it, in a store; its images by architecture."""

    store: Store
    repository: str
    digest: str
    images: dict[str, str]
    key: ec.EllipticCurvePrivateKey

    @property
    def policy(self) -> Policy:
        return Policy((PolicyKey("own", public_pem(self.key.public_key())),), repositories=(self.repository,))

    def at(self, which: str = ":1") -> str:
        return f"{self.repository}{which}"

    def sign(self) -> Signed:
        """Sign all of it, and push."""
        signed = sign_all(self.store, self.digest, "small", self.key, repositories=[self.repository])
        self.push()
        return signed

    def push(self) -> None:
        push(self.store, self.digest, parse_reference(self.at()))


@pytest.fixture
def index(oras: Any, tmp_path: Path) -> Iterator[Index]:
    """In a registry with the referrers API."""
    with serve_registry(OciRegistry()) as served:
        yield make_index(served.host, "small", oras, tmp_path)


@pytest.fixture
def plain_index(registry: Any, oras: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Index:
    """In docker-registry, which has no referrers API."""
    return make_index(registry.host, request.node.name, oras, tmp_path)


def make_index(host: str, test: str, oras: Any, folder: Path) -> Index:
    repository = f"{host}/index/{''.join(char for char in test.lower() if char.isalnum())}"
    made = Store.open(folder / "made")
    images = {machine: put_image(made, f"small-{machine}", machine) for machine in MACHINES}
    for machine, digest in images.items():
        push(made, digest, parse_reference(f"{repository}:{machine}"))
    oras("manifest", "index", "create", "--plain-http", f"{repository}:1", *MACHINES)
    store = Store.open(folder / "store")
    digest = pull(parse_reference(f"{repository}:1"), store).digest
    return Index(store, repository, digest, images, make_key())


def test_an_index_comes_with_its_images_and_their_platforms(index: Index) -> None:
    found = {each.platform: each.digest for each in images_of(index.store, index.digest)}
    assert found == {f"linux/{machine}": digest for machine, digest in index.images.items()}
    assert images_of(index.store, index.images["amd64"]) == ()
    assert image_for(index.store, index.digest, "linux/arm64").digest == index.images["arm64"]
    assert image_for(index.store, index.digest).digest == found[host_platform()]


def test_other_tools_verify_the_index_and_each_image(
    plain_index: Index, cosign: Any, cosign_2: Any, new_skopeo: Any, tmp_path: Path
) -> None:
    index = plain_index
    signed = index.sign()
    assert {"signature", "signature, linux/amd64", f"signature for {index.repository}, linux/arm64"} <= set(
        signed.referrers
    )
    options, public = key_options(tmp_path, index.key), str(tmp_path / "key.pub")
    for digest in (index.digest, *index.images.values()):
        claims = json.loads(cosign("verify", *options, index.at(f"@{digest}")).stdout)
        assert claims[0]["critical"]["image"]["docker-manifest-digest"] == digest
        cosign_2("verify", "--key", public, "--insecure-ignore-tlog=true", index.at(f"@{digest}"))
    for machine in MACHINES:
        copied_image = copied(new_skopeo, index, machine, tmp_path)
        assert copied_image.returncode == 0, copied_image.stderr
        assert (tmp_path / machine / "manifest.json").read_bytes() == index.store.read(index.images[machine])


def test_an_index_that_is_signed_alone_is_not_enough(index: Index, new_skopeo: Any, tmp_path: Path) -> None:
    sign_image(index.store, index.digest, "small", index.key)
    sign_simply(index.store, index.digest, index.repository, index.key)
    index.push()
    assert "signature was required" in copied(new_skopeo, index, "amd64", tmp_path).stderr
    judged = verify_whole(index.store, index.digest, index.policy, name=index.at())
    assert judged.report.holds and not judged.holds
    with pytest.raises(DoesNotHoldError):
        obtain_image(index.at(), Store.open(tmp_path / "host"), index.policy)


def test_every_image_is_judged_or_the_one_for_a_platform(index: Index, tmp_path: Path) -> None:
    sign_all(index.store, index.images["arm64"], "small", index.key)
    policy = index.policy
    assert verify_whole(index.store, index.digest, policy, name=index.at(), platform="linux/arm64").holds
    assert not verify_whole(index.store, index.digest, policy, name=index.at(), platform="linux/amd64").holds
    assert not verify_whole(index.store, index.digest, policy, name=index.at()).holds
    index.sign()
    whole = verify_whole(index.store, index.digest, policy, name=index.at())
    assert whole.holds and [platform for platform, _ in whole.images] == ["linux/amd64", "linux/arm64"]
    revoked = replace(policy, revoked_images=(index.digest,))
    assert not verify_whole(index.store, index.digest, revoked, name=index.at(), platform="linux/arm64").holds
    assert verify_whole(index.store, index.images["arm64"], revoked).holds
    with pytest.raises(NotFoundError, match="no image for linux/s390x"):
        verify_whole(index.store, index.digest, policy, platform="linux/s390x")
    with pytest.raises(InputError, match="not an index"):
        verify_whole(index.store, index.images["amd64"], policy, platform="linux/amd64")


def test_a_pull_for_a_platform_brings_that_image_alone_under_the_name(index: Index, tmp_path: Path) -> None:
    index.sign()
    fresh = Store.open(tmp_path / "fresh")
    report = pull(parse_reference(index.at()), fresh, platform="linux/arm64")
    assert report.digest == fresh.resolve(index.at()) == index.images["arm64"]
    assert not fresh.has(index.digest) and not fresh.has(index.images["amd64"])
    assert verify_whole(fresh, report.digest, index.policy, name=index.at()).holds
    with pytest.raises(NotFoundError, match="linux/s390x"):
        pull(parse_reference(index.at()), fresh, platform="linux/s390x")


def test_a_host_takes_the_image_for_itself_and_then_asks_nobody(index: Index, tmp_path: Path) -> None:
    index.sign()
    host, own = Store.open(tmp_path / "host"), image_for(index.store, index.digest).digest
    obtained = obtain_image(index.at(), host, index.policy)
    assert obtained.digest == own and obtained.pulled and obtained.pulled.needed == []
    other = next(digest for digest in index.images.values() if digest != own)
    layers = {layer["digest"] for layer in index.store.manifest(other)["layers"]}
    assert not any(map(host.has, layers - {layer["digest"] for layer in host.manifest(own)["layers"]}))
    again = obtain_image(index.at(f"@{own}"), host, index.policy)
    assert again.pulled is None


def test_a_tag_s_past_is_kept_for_each_platform(index: Index, tmp_path: Path) -> None:
    index.sign()
    store, name = index.store, index.at()
    from reprise.trust.verify import remember

    for platform in ("linux/amd64", "linux/arm64", "linux/amd64", "", "linux/arm64", ""):
        report = verify_whole(store, index.digest, index.policy, name=name, platform=platform)
        assert report.holds, report.report.rules
        remember(store, report.report)


def test_an_index_that_lies_about_an_image_is_refused(index: Index, tmp_path: Path) -> None:
    document = index.store.manifest(index.digest)
    document["manifests"][0]["size"] += 1
    lying = index.store.put_manifest(canonical_json(document), document["mediaType"])
    push(index.store, lying, parse_reference(index.at(":lying")))
    for platform in (None, "linux/amd64"):
        with pytest.raises(InputError, match="says that"):
            pull(parse_reference(index.at(":lying")), Store.open(tmp_path / "fresh"), platform=platform)


def copied(skopeo: Any, index: Index, machine: str, folder: Path) -> Any:
    exported = folder / "exported"
    write_export(export_policy(index.policy, "containers", exported, datetime.now(UTC)), exported)
    rules = ("--policy", str(exported / "policy.json"), "--registries.d", str(exported / "registries.d"))
    return skopeo(
        *(*rules, "--override-os", "linux", "--override-arch", machine),
        *("copy", "--remove-signatures", "--src-tls-verify=false"),
        *(f"docker://{index.at()}", f"dir:{folder / machine}"),
        check=False,
    )
