"""An image that the policy does not accept costs no layer's byte; one that it accepts comes once, by its digest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from keyless_signing import BUILDER, root_of, signer
from oci_registry import Fault
from private_sigstore import private_sigstore
from small_image import put_index

from reprise.host import obtain_image
from reprise.registry.checked_pull import REFERRER_LIMIT
from reprise.registry.pull import pull
from reprise.registry.reference import parse_reference
from reprise.store.platforms import host_platform
from reprise.trust.keys import make_key
from reprise.trust.sign import attach_bundle, sign_image, stored_bundles
from reprise.trust.verify import accept_image, verify_image
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError, RepriseError
from reprise_trainer.identity.bundle import BUNDLE_TYPE, IMAGE_SIGNATURE
from reprise_trainer.identity.inventory import MANIFEST_TYPE
from reprise_trainer.identity.policy import Policy, SignerIdentity

from .conftest import Site


def refused(site: Site, reference: str, digest: str, kind: type[RepriseError], said: str) -> None:
    with pytest.raises(kind, match=said):
        site.obtain(reference)
    assert site.registry.asked, "it has to be the registry's image that was judged"
    assert site.asked_for(site.layers(digest)) == []
    assert site.is_untouched()


def test_of_an_unsigned_image_no_layer_is_asked_for(site: Site) -> None:
    digest = site.make(signed=False)
    refused(site, site.push(digest), digest, DoesNotHoldError, "the image has no signatures")


def test_a_stranger_s_signature_counts_for_nothing(site: Site) -> None:
    digest = site.make(signed=False)
    sign_image(site.origin, digest, "small", make_key())
    refused(site, site.push(digest), digest, DoesNotHoldError, "policy does not hold")


def test_the_signature_of_another_image_counts_for_nothing(site: Site) -> None:
    other, digest = site.make(more=b"other"), site.make(signed=False)
    ((_, bundle),) = stored_bundles(site.origin, other)
    attach_bundle(site.origin, digest, bundle, IMAGE_SIGNATURE)
    refused(site, site.push(digest), digest, DoesNotHoldError, f"is about another image: {other}")


def test_a_bundle_whose_bytes_were_changed_is_left_out(site: Site) -> None:
    digest = site.make()
    reference = site.push(digest)
    ((referrer, _),) = stored_bundles(site.origin, digest)
    blob = site.origin.manifest(referrer)["layers"][0]["digest"]
    place = ("team/small", blob)
    site.registry.blobs[place] = site.registry.blobs[place].replace(b"a", b"b", 1)
    refused(site, reference, digest, DoesNotHoldError, "the image has no signatures")


def test_a_config_whose_bytes_were_changed_is_refused(site: Site) -> None:
    digest = site.make()
    reference = site.push(digest)
    config = site.origin.manifest(digest)["config"]
    site.registry.blobs["team/small", config["digest"]] = b"x" * config["size"]
    refused(site, reference, digest, DoesNotHoldError, "when asked for")


def test_a_manifest_with_another_digest_than_asked_for_is_refused(site: Site) -> None:
    digest, other = site.make(), site.make(more=b"other")
    site.push(other, "team/small:other")
    reference = site.push(digest)
    site.registry.manifests["team/small", digest] = site.registry.manifests["team/small", other]
    refused(site, f"{reference}@{digest}", digest, DoesNotHoldError, f"gave {other} when asked for {digest}")


def test_a_config_that_is_said_to_be_huge_is_not_asked_for(site: Site) -> None:
    digest = site.make()
    manifest = site.origin.manifest(digest)
    manifest["config"]["size"] = 1 << 40
    huge = json.dumps(manifest).encode()
    reference = site.push(digest)
    site.registry.manifests["team/small", "1"] = (huge, MANIFEST_TYPE)
    refused(site, reference, digest, InputError, "a config of 1099511627776 bytes")
    assert site.asked_for([manifest["config"]["digest"]]) == []


def test_a_referrer_that_is_said_to_be_huge_is_not_asked_for(site: Site) -> None:
    digest = site.make()
    reference = site.push(digest)
    blob = sha256_digest(b"never sent")
    part = {"mediaType": BUNDLE_TYPE, "digest": blob, "size": REFERRER_LIMIT + 1}
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256_digest(b"{}"), "size": 2}
    subject = {"mediaType": MANIFEST_TYPE, "digest": digest, "size": 1}
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "artifactType": BUNDLE_TYPE}
    rubbish = json.dumps({**document, "config": empty, "layers": [part], "subject": subject}).encode()
    site.registry.manifests["team/small", sha256_digest(rubbish)] = (rubbish, MANIFEST_TYPE)
    obtained = site.obtain(reference)
    assert obtained.digest == digest and site.asked_for([blob]) == []
    assert obtained.pulled is not None and "more than" in obtained.pulled.skipped[0]


def test_an_index_without_an_image_for_this_machine_is_refused_with_what_it_has(site: Site) -> None:
    digest = site.make()
    kind = "application/vnd.oci.image.index.v1+json"
    entry = {"mediaType": MANIFEST_TYPE, "digest": digest, "size": len(site.origin.read(digest))}
    data = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]}).encode()
    index = site.origin.put_manifest(data, kind)
    reference = site.push(index)
    with pytest.raises(NotFoundError, match=f"has no image for .*{digest}"):
        site.obtain(reference)
    assert site.is_untouched()


def test_a_signed_image_comes_whole_with_its_signature(site: Site) -> None:
    digest = site.make()
    reference = site.push(digest)
    obtained = site.obtain(reference)
    assert (obtained.digest, obtained.reference) == (digest, f"{reference}@{digest}")
    assert site.host.resolve(reference) == digest
    for layer in site.layers(digest):
        site.host.check(layer)
    assert [data for _, data in stored_bundles(site.host, digest)] == [
        data for _, data in stored_bundles(site.origin, digest)
    ]
    assert list((site.host.root / "partial").iterdir()) == []


class Heard:
    """What is told of an image's arrival."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.whole_blobs: list[str] = []

    def begin(self, manifest: bytes) -> None:
        self.begun.append(sha256_digest(manifest))

    def whole(self, digest: str) -> None:
        self.whole_blobs.append(digest)


def test_nobody_hears_of_an_image_before_the_policy_lets_it_in(site: Site) -> None:
    heard, digest = Heard(), site.make(signed=False)
    reference = site.push(digest)
    with pytest.raises(DoesNotHoldError):
        obtain_image(reference, site.host, site.policy, arrival=heard)
    assert (heard.begun, heard.whole_blobs) == ([], [])
    sign_image(site.origin, digest, "small", site.key)
    site.push(digest)
    obtain_image(reference, site.host, site.policy, arrival=heard)
    assert heard.begun == [digest] and set(site.layers(digest)) <= set(heard.whole_blobs)


def test_only_missing_layers_are_asked_for(site: Site) -> None:
    site.obtain(site.push(site.make(more=b"one")))
    second = site.make(more=b"two")
    site.obtain(site.push(second))
    shared = [layer for layer in site.layers(second) if layer in site.layers(site.make(more=b"one"))]
    assert len(shared) == 2 and site.asked_for(shared) == []


def test_a_tag_is_resolved_once_and_may_move_meanwhile(site: Site) -> None:
    first, second = site.make(more=b"one"), site.make(more=b"two")
    site.push(second, "team/small:2")
    reference = site.push(first)
    moved = site.registry.manifests["team/small", second]

    def move(event: Any) -> None:
        site.registry.manifests["team/small", "1"] = moved

    from reprise.host import obtain_image

    obtained = obtain_image(reference, site.host, site.policy, on_event=move)
    assert obtained.digest == first
    assert [each.path for each in site.registry.asked if each.path.endswith("/manifests/1")] == [
        "/v2/team/small/manifests/1"
    ]


def test_what_is_here_whole_and_signed_is_not_asked_for_again(site: Site) -> None:
    digest = site.make()
    reference = f"{site.push(digest)}@{digest}"
    site.obtain(reference)
    site.registry.asked.clear()
    assert site.obtain(reference).pulled is None and site.obtain(digest).digest == digest
    assert site.registry.asked == []


def test_what_is_here_unsigned_is_judged_by_what_the_registry_has(site: Site) -> None:
    digest = site.make()
    reference = f"{site.push(digest)}@{digest}"
    site.obtain(reference)
    for referrer, _ in stored_bundles(site.host, digest):
        site.host.path(referrer).unlink()
    assert site.obtain(reference).pulled is not None
    with pytest.raises(NotFoundError):
        site.obtain("small")  # not a reference: only the store is asked


@pytest.mark.parametrize("indexed", [False, True])
def test_a_name_of_ones_own_does_not_go_back_where_its_tag_does(site: Site, indexed: bool) -> None:
    def pull_as_mine(image: str) -> None:
        reference = site.push(put_index(site.origin, {host_platform(): image}) if indexed else image)
        pull(parse_reference(reference), site.host, tag="mine")

    old, new = site.make(more=b"old"), site.make(more=b"new")
    for each in (old, new):
        pull_as_mine(each)
        assert site.obtain("mine").digest == each  # remembered by this alone
    pull_as_mine(old)
    with pytest.raises(DoesNotHoldError, match="an older image under this tag"):
        site.obtain("mine")
    assert site.obtain(old).digest == old  # a digest is what it says


@pytest.mark.parametrize("by_run", [True, False])
def test_what_was_chosen_from_an_index_keeps_its_tag_s_past_for_the_platform(site: Site, by_run: bool) -> None:
    old, new = site.make(more=b"old"), site.make(more=b"new")

    def pull_mine(image: str) -> str:
        reference = site.push(put_index(site.origin, {host_platform(): image, "linux/s390x": site.make(more=b"other")}))
        pull(parse_reference(reference), site.host, platform=host_platform())
        return reference

    def accept(name: str) -> str:
        if by_run:
            return site.obtain(name).digest
        accept_image(site.host, site.host.resolve(name), site.policy, name=name)
        return site.host.resolve(name)

    for each in (old, new):
        assert accept(pull_mine(each)) == each
    reference = pull_mine(old)
    assert not verify_image(site.host, site.host.resolve(reference), site.policy, name=reference).holds
    with pytest.raises(DoesNotHoldError, match="an older image under this tag"):
        site.obtain(reference)
    pull(parse_reference(reference), site.host, platform="linux/s390x")  # another platform's past is another
    accept_image(site.host, site.host.resolve(reference), site.policy, name=reference)
    accept_image(site.host, site.host.resolve(pull_mine(new)), site.policy, name=reference)


@pytest.mark.parametrize("here", [False, True])
@pytest.mark.parametrize("by", ["tag", "digest"])
def test_a_name_that_leads_to_a_revoked_index_gives_no_image_of_it(site: Site, here: bool, by: str) -> None:
    image = site.make()
    index = put_index(site.origin, {host_platform(): image})
    reference = site.push(index)
    if here:
        pull(parse_reference(reference), site.host)
    names = [reference if by == "tag" else f"{reference}@{index}", *([index] if here else [])]
    policy = replace(site.policy, revoked_images=(index,))
    for name in names:
        with pytest.raises(DoesNotHoldError, match=f"{index} is among the revoked images"):
            obtain_image(name, site.host, policy)
    assert here or site.is_untouched()
    other = replace(site.policy, revoked_images=(f"sha256:{'0' * 64}",))
    assert [obtain_image(name, site.host, other).digest for name in names] == [image] * len(names)


def test_a_pull_that_breaks_off_goes_on_where_it_stopped(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    digest = site.make()
    reference = site.push(digest)
    noise = site.layers(digest)[1]
    site.registry.faults = [Fault("GET", noise, times=1, drop=100)]
    assert site.obtain(reference).digest == digest
    site.host.check(noise)


def test_under_a_keyless_policy_an_image_comes_whole_or_not_at_all(site: Site) -> None:
    with private_sigstore() as sigstore:
        digest = site.make(signed=False)
        sign_image(site.origin, digest, "small", signer(sigstore))
    reference, root = site.push(digest), root_of(sigstore)
    policy = Policy((), identities=(SignerIdentity(sigstore.provider.url, BUILDER),), trusted_root=sha256_digest(root))
    for refusing in (policy, replace(policy, root=root, identities=(SignerIdentity(sigstore.provider.url, "x"),))):
        with pytest.raises(DoesNotHoldError):
            obtain_image(reference, site.host, refusing)
        assert site.is_untouched() and site.asked_for(site.layers(digest)) == []
    assert obtain_image(reference, site.host, replace(policy, root=root)).digest == digest
    site.registry.asked.clear()
    assert obtain_image(f"{reference}@{digest}", site.host, replace(policy, root=root)).pulled is None
    assert site.registry.asked == []
