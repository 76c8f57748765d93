"""A bundle under a policy that allows some repositories alone: a person's word counts, the bundle's own does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from small_image import Entry, make_image, put_index

from reprise.bundle.accept import load_accepted
from reprise.bundle.read import claimed_references
from reprise.bundle.write import write_bundle
from reprise.host import obtain_image
from reprise.registry.reference import parse_reference
from reprise.store.references import pulled_from
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image
from reprise.trust.verify import verify_image
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.policy import Policy

from .conftest import LAYERS, Shipped

TEAM = "registry.example.org/team/small"
WORD = parse_reference(f"{TEAM}:1")


def team_only(shipped: Shipped) -> Policy:
    return replace(shipped.policy, repositories=("registry.example.org/team/*",))


def claim(shipped: Shipped, *references: str) -> None:
    write_bundle(shipped.origin, shipped.digest, shipped.file, name="small", references=references)


@pytest.mark.parametrize("claimed", [(), (f"{TEAM}:1",), (f"{TEAM}:1", "elsewhere.org/small:1")])
def test_what_a_bundle_says_of_itself_opens_no_policy(shipped: Shipped, claimed: tuple[str, ...]) -> None:
    claim(shipped, *claimed)
    with pytest.raises(DoesNotHoldError, match="proves none; it ") as caught:
        load_accepted(shipped.file, shipped.there, team_only(shipped))
    assert shipped.is_untouched() and "--as" in caught.value.hint
    assert all(each in caught.value.message for each in claimed)


@pytest.mark.parametrize("claimed", [(), (f"{TEAM}:1",), ("elsewhere.org/small:1", f"{TEAM}:old")])
def test_a_person_s_word_is_judged_and_remembered_as_a_pull_s_reference(
    shipped: Shipped, claimed: tuple[str, ...]
) -> None:
    claim(shipped, *claimed)
    policy = team_only(shipped)
    loaded = load_accepted(shipped.file, shipped.there, policy, reference=WORD)
    assert loaded.claimed == claimed == claimed_references(shipped.file)
    assert pulled_from(shipped.there, shipped.digest) == [f"{TEAM}:1"]
    assert shipped.there.resolve(f"{TEAM}:1") == shipped.there.resolve("small") == shipped.digest
    assert verify_image(shipped.there, shipped.digest, policy).holds
    at_digest = f"{TEAM}@{shipped.digest}"
    assert obtain_image(at_digest, shipped.there, policy).pulled is None  # no network: there is no such registry


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("registry.example.org/other/small:1", "other/small"),
        ("registry.example.org/teams/small:1", "teams/small"),
        (f"{TEAM}@sha256:{'0' * 64}", "another image"),
    ],
)
def test_a_word_that_the_policy_or_the_image_does_not_fit_loads_nothing(shipped: Shipped, word: str, why: str) -> None:
    with pytest.raises(DoesNotHoldError, match=why):
        load_accepted(shipped.file, shipped.there, team_only(shipped), reference=parse_reference(word))
    assert shipped.is_untouched() and pulled_from(shipped.there, shipped.digest) == []


def test_a_word_against_what_the_bundle_says_is_refused(shipped: Shipped) -> None:
    claim(shipped, "registry.example.org/team/other:1")
    with pytest.raises(DoesNotHoldError, match=r"came from registry\.example\.org/team/other:1, not from"):
        load_accepted(shipped.file, shipped.there, team_only(shipped), reference=WORD)
    assert shipped.is_untouched()


def test_a_word_makes_up_for_no_signature(shipped: Shipped) -> None:
    stranger = replace(own_policy(make_key().public_key()), repositories=("registry.example.org/team/*",))
    with pytest.raises(DoesNotHoldError, match="signed"):
        load_accepted(shipped.file, shipped.there, stranger, reference=WORD)
    assert shipped.is_untouched()


def test_a_courier_can_not_bring_back_an_older_image_under_the_tag(shipped: Shipped, tmp_path: Path) -> None:
    newer = make_image(shipped.origin, {**LAYERS, "top": {"opt/x": Entry(b"newer")}}).digest
    sign_image(shipped.origin, newer, "small", shipped.key)
    write_bundle(shipped.origin, newer, tmp_path / "newer.tar")
    for file in (shipped.file, tmp_path / "newer.tar"):
        load_accepted(file, shipped.there, team_only(shipped), reference=WORD)
    with pytest.raises(DoesNotHoldError, match="older image under this tag"):
        load_accepted(shipped.file, shipped.there, team_only(shipped), reference=WORD)
    assert shipped.there.resolve(f"{TEAM}:1") == newer


@pytest.mark.parametrize("revoked", ["image", "index"])
def test_an_image_of_a_signed_index_that_is_revoked_does_not_come_in(shipped: Shipped, revoked: str) -> None:
    inner = put_index(shipped.origin, {"linux/amd64": shipped.digest})
    outer = put_index(shipped.origin, {"any/any": inner})
    sign_image(shipped.origin, outer, "small", shipped.key)
    write_bundle(shipped.origin, outer, shipped.file)
    digest = {"image": shipped.digest, "index": inner}[revoked]
    with pytest.raises(DoesNotHoldError, match=f"{digest} is among the revoked images"):
        load_accepted(shipped.file, shipped.there, replace(shipped.policy, revoked_images=(digest,)))
    assert shipped.is_untouched()
    other = replace(shipped.policy, revoked_images=("sha256:" + "0" * 64,))
    assert load_accepted(shipped.file, shipped.there, other).image == outer


def test_a_policy_without_repositories_needs_no_word(shipped: Shipped) -> None:
    loaded = load_accepted(shipped.file, shipped.there, shipped.policy)
    assert loaded.name == "small" and pulled_from(shipped.there, shipped.digest) == []


@pytest.mark.parametrize("claimed", [("no reference",), ("a.org/x:1",) * 65])
def test_malformed_claims_are_refused(shipped: Shipped, claimed: tuple[str, ...]) -> None:
    claim(shipped, *claimed)
    with pytest.raises(InputError, match="reference"):
        load_accepted(shipped.file, shipped.there, shipped.policy)
    assert shipped.is_untouched()
