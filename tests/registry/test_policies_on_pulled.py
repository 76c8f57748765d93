"""Where an image was pulled from, and what its tag led to before: judged from what the store remembers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from oci_registry import OciRegistry

from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.store.references import FILE, accepted_under, pulled_from
from reprise.trust.sign import sign_image
from reprise.trust.verify import accept_image, verify_image
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.bundle import public_pem
from reprise_trainer.identity.judge import RuleResult
from reprise_trainer.identity.policy import Policy, PolicyKey

from .conftest import Pushed, whole_image

REPOSITORY = "pulled from an allowed repository"


class Tag:
    """One tag of a registry, moved by pushes, and a store that pulls it."""

    def __init__(self, image: Pushed, registry: OciRegistry, folder: Path) -> None:
        self.first, self.registry, self.reference = image, registry, f"{registry.host}/team/small:1"
        other = whole_image(image.store, more=b"other")
        sign_image(other.store, other.digest, "small", image.key)
        self.second = other.digest
        self.store = Store.open(folder)

    def move(self, digest: str) -> str:
        push(self.first.store, digest, parse_reference(self.reference))
        return pull(parse_reference(self.reference), self.store).digest

    def policy(self, *repositories: str) -> Policy:
        return Policy((PolicyKey("own", public_pem(self.first.key.public_key())),), repositories=repositories)


@pytest.fixture
def tag(image: Pushed, registry: OciRegistry, tmp_path: Path) -> Tag:
    return Tag(image, registry, tmp_path / "fresh")


def rule(rules: tuple[RuleResult, ...], name: str) -> RuleResult:
    (found,) = (each for each in rules if each.rule.endswith(name))
    return found


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [("HOST/team/small", True), ("HOST/team/*", True), ("HOST/*", True), ("HOST/tea/*", False), ("a.org/*", False)],
)
def test_only_images_of_allowed_repositories_hold(tag: Tag, pattern: str, allowed: bool) -> None:
    digest = tag.move(tag.first.digest)
    report = verify_image(tag.store, digest, tag.policy(pattern.replace("HOST", tag.registry.host)))
    assert report.holds == allowed
    assert rule(report.rules, REPOSITORY).outcome == ("holds" if allowed else "fails")
    assert tag.reference in rule(report.rules, REPOSITORY).why


def test_the_repository_is_known_whatever_the_store_calls_the_image(tag: Tag) -> None:
    push(tag.first.store, tag.first.digest, parse_reference(tag.reference))
    by_digest = parse_reference(f"{tag.registry.host}/team/small@{tag.first.digest}")
    pull(by_digest, tag.store, tag="mine")
    assert pulled_from(tag.store, tag.first.digest) == [str(by_digest)]
    assert verify_image(tag.store, tag.first.digest, tag.policy(f"{tag.registry.host}/team/*"), name="mine").holds
    assert not verify_image(tag.store, tag.first.digest, tag.policy("a.org/*"), name="mine").holds


def test_an_image_that_was_never_pulled_has_no_repository(tag: Tag) -> None:
    report = verify_image(tag.first.store, tag.first.digest, tag.policy(f"{tag.registry.host}/*"))
    assert not report.holds and "its repository is unknown" in rule(report.rules, REPOSITORY).why


def test_a_name_in_the_store_that_looks_like_a_reference_is_no_proof(tag: Tag) -> None:
    store = tag.first.store
    manifest = store.read(tag.first.digest)
    store.put_manifest(manifest, tag="a.org/team/small:1")
    assert not verify_image(store, tag.first.digest, tag.policy("a.org/team/small"), name="a.org/team/small:1").holds


def test_the_image_of_an_index_came_from_where_the_index_did(tag: Tag) -> None:
    push(tag.first.store, tag.first.digest, parse_reference(tag.reference))
    size = len(tag.first.store.read(tag.first.digest))
    kind = "application/vnd.oci.image.index.v1+json"
    entry = {"mediaType": tag.first.store.manifest(tag.first.digest)["mediaType"], "digest": tag.first.digest}
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [{**entry, "size": size}]}).encode()
    tag.registry.manifests["team/small", "all"] = (index, kind)
    pull(parse_reference(f"{tag.registry.host}/team/small:all"), tag.store)
    assert verify_image(tag.store, tag.first.digest, tag.policy(f"{tag.registry.host}/team/small")).holds


def test_what_refers_to_an_image_gets_no_repository_of_its_own(tag: Tag) -> None:
    tag.move(tag.first.digest)
    assert all(pulled_from(tag.store, digest) == [] for digest in tag.first.referrers.values())


def test_a_tag_may_move_on_and_not_back(tag: Tag) -> None:
    policy, name = tag.policy(), tag.reference
    assert (
        "for the first time"
        in rule(accept_image(tag.store, tag.move(tag.first.digest), policy, name=name).rules, "has not gone back").why
    )
    moved = accept_image(tag.store, tag.move(tag.second), policy, name=name)
    assert f"the last one accepted was {tag.first.digest}" in rule(moved.rules, "has not gone back").why
    accept_image(tag.store, tag.second, policy, name=name)  # the same again
    old = tag.move(tag.first.digest)
    with pytest.raises(DoesNotHoldError, match=f"an older image .* the last one accepted was {tag.second}"):
        accept_image(tag.store, old, policy, name=name)
    assert accepted_under(tag.store, name) == [tag.first.digest, tag.second]


def test_an_older_image_can_be_accepted_on_purpose_and_is_the_last_one_then(tag: Tag) -> None:
    policy, name = tag.policy(), tag.reference
    for digest in (tag.first.digest, tag.second):
        accept_image(tag.store, tag.move(digest), policy, name=name)
    accept_image(tag.store, tag.move(tag.first.digest), policy, name=name, accept_older=True)
    assert verify_image(tag.store, tag.first.digest, policy, name=name).holds
    assert not verify_image(tag.store, tag.second, policy, name=name).holds


def test_an_old_image_under_a_name_of_ones_own_is_old_too_and_a_digest_is_what_it_says(tag: Tag) -> None:
    policy = tag.policy()
    for digest in (tag.first.digest, tag.second):
        accept_image(tag.store, tag.move(digest), policy, name=tag.reference)
    assert not verify_image(tag.store, tag.first.digest, policy, name="mine").holds
    assert verify_image(tag.store, tag.first.digest, policy, name=tag.first.digest).holds
    assert verify_image(tag.store, tag.first.digest, policy).holds


def test_an_image_can_be_judged_in_one_store_by_the_memory_of_another(tag: Tag, tmp_path: Path) -> None:
    for digest in (tag.first.digest, tag.second):
        accept_image(tag.store, tag.move(digest), tag.policy(), name=tag.reference)
    aside = tag.first.store  # has the images, and remembers nothing
    allowed = tag.policy(f"{tag.registry.host}/team/small")
    judged = {
        digest: verify_image(
            aside, digest, allowed, name=tag.reference, references=[tag.reference], memory=tag.store
        ).holds
        for digest in (tag.first.digest, tag.second)
    }
    assert judged == {tag.first.digest: False, tag.second: True}
    assert not verify_image(aside, tag.second, allowed, references=["a.org/team/small:1"], memory=tag.store).holds


def test_an_image_that_does_not_hold_is_not_remembered(tag: Tag) -> None:
    digest = tag.move(tag.first.digest)
    with pytest.raises(DoesNotHoldError):
        accept_image(tag.store, digest, tag.policy("a.org/*"), name=tag.reference)
    assert accepted_under(tag.store, tag.reference) == []


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"format":2}', '{"format":1,"pulled":{"a":1},"accepted":{}}'])
def test_a_damaged_memory_is_an_error_and_not_an_empty_one(tag: Tag, damage: str) -> None:
    digest = tag.move(tag.first.digest)
    (tag.store.root / FILE).write_text(damage)
    with pytest.raises(InputError, match=re.escape(str(tag.store.root / FILE))):
        verify_image(tag.store, digest, tag.policy(), name=tag.reference)
