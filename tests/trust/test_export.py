"""The policy in other tools' words: the structure that they document, and never a weaker demand for signers."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from reprise.trust.export import export_policy, write_export
from reprise.trust.keys import make_key
from reprise_trainer.errors import InputError
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, key_hint, public_pem
from reprise_trainer.identity.policy import Policy, PolicyKey, SignerIdentity

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SBOM = "https://cyclonedx.org/bom"
KEYS = {name: make_key() for name in ("Release", "rebuilder 2", "third")}

# policy-controller's API types v1beta1 (ClusterImagePolicySpec, Authority, KeyRef, Attestation, ImagePattern), its CRD
# (config/300-clusterimagepolicy.yaml), and signatureFormat of its pull request 1725: what of them an export uses, with
# nothing else allowed
_TEXT = {"type": "string", "minLength": 1}
_PEM = {"type": "string", "pattern": "^-----BEGIN PUBLIC KEY-----\n"}


def _object(required: list[str], **fields: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": fields, "additionalProperties": False}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


CLUSTER_IMAGE_POLICY = _object(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "policy.sigstore.dev/v1beta1"},
    kind={"const": "ClusterImagePolicy"},
    metadata=_object(["name"], name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}),
    spec=_object(
        ["images", "authorities"],
        mode={"enum": ["enforce", "warn"]},
        images=_list(_object(["glob"], glob=_TEXT)),
        authorities=_list(
            _object(
                ["name", "key"],
                name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
                key=_object(
                    ["data"], data={"type": "string", "pattern": "^-----BEGIN PUBLIC KEY-----\n"}, hashAlgorithm=_TEXT
                ),
                signatureFormat={"enum": ["legacy", "bundle"]},
                attestations=_list(_object(["name", "predicateType"], name=_TEXT, predicateType=_TEXT)),
            )
        ),
    ),
)


def policy(names: str = "Release", **changes: Any) -> Policy:
    ends = changes.pop("ends", {})
    return Policy(
        tuple(PolicyKey(name, public_pem(KEYS[name].public_key()), ends.get(name)) for name in names.split(",")),
        **changes,
    )


ALL = ",".join(KEYS)


def admission(asked: Policy) -> list[dict[str, Any]]:
    (text,) = export_policy(asked, "kubernetes", Path("x"), NOW).files.values()
    documents = list(yaml.safe_load_all(text))
    for document in documents:
        jsonschema.validate(document, CLUSTER_IMAGE_POLICY)
    return documents


def containers(asked: Policy, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    write_export(export_policy(asked, "containers", folder, NOW), folder)
    rules = json.loads((folder / "policy.json").read_text())
    return rules, yaml.safe_load((folder / "registries.d" / "reprise.yaml").read_text())


def test_everything_else_is_rejected_and_keys_are_named_by_full_paths(tmp_path: Path) -> None:
    rules, registries = containers(policy(repositories=("a.org/team/*", "b.org/x")), tmp_path)
    assert rules["default"] == [{"type": "reject"}]
    assert set(rules["transports"]["docker"]) == {"a.org/team", "b.org/x"}
    (requirement,) = rules["transports"]["docker"]["a.org/team"]
    assert requirement["type"] == "sigstoreSigned" and Path(requirement["keyPath"]).is_relative_to(tmp_path)
    assert Path(requirement["keyPath"]).read_text() == policy().keys[0].public_key
    assert registries == {"docker": {key: {"use-sigstore-attachments": True} for key in ("a.org/team", "b.org/x")}}


def test_without_repositories_every_registry_needs_the_signature(tmp_path: Path) -> None:
    rules, registries = containers(policy(), tmp_path)
    assert list(rules["transports"]["docker"]) == [""]
    assert registries == {"default-docker": {"use-sigstore-attachments": True}}


def test_any_of_the_keys_is_one_requirement_and_all_of_them_are_one_each(tmp_path: Path) -> None:
    (any_of,) = containers(policy(ALL), tmp_path / "any")[0]["transports"]["docker"][""]
    assert len(any_of["keyPaths"]) == 3 and "keyPath" not in any_of
    each = containers(policy(ALL, signers=3), tmp_path / "all")[0]["transports"]["docker"][""]
    assert len({requirement["keyPath"] for requirement in each}) == 3
    assert [len(document["spec"]["authorities"]) for document in admission(policy(ALL))] == [3]
    assert [len(document["spec"]["authorities"]) for document in admission(policy(ALL, signers=3))] == [1, 1, 1]


@pytest.mark.parametrize("target", ["containers", "kubernetes"])
@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (policy(ALL, signers=2), "2 of 3 signers cannot be exported"),
        (policy(identities=(SignerIdentity("i", "s"),)), "only keys can"),
        (policy(trusted_root="sha256:" + "0" * 64), "only keys can"),
        (policy(log=True), "only keys can"),
        (policy(not_after=NOW - timedelta(1)), "the policy ended"),
        (policy(ends={"Release": NOW - timedelta(1)}), "0 of the policy's keys still count"),
        (policy(revoked_keys=(key_hint(KEYS["Release"].public_key()),)), "0 of the policy's keys still count"),
        (policy(ALL, signers=3, ends={"third": NOW - timedelta(1)}), "2 of the policy's keys still count, 3 signers"),
    ],
)
def test_a_policy_that_would_come_out_weaker_is_refused(asked: Policy, why: str, target: Any) -> None:
    with pytest.raises(InputError, match=why):
        export_policy(asked, target, Path("x"), NOW)


def test_keys_that_count_no_more_are_left_out(tmp_path: Path) -> None:
    revoked = (key_hint(KEYS["Release"].public_key()),)
    (requirement,) = containers(policy("Release,third", revoked_keys=revoked), tmp_path)[0]["transports"]["docker"][""]
    assert Path(requirement["keyPath"]).read_text() == policy("third").keys[0].public_key
    assert len(list((tmp_path / "keys").iterdir())) == 1


def test_kubernetes_asks_each_key_for_every_statement() -> None:
    assert len({each["name"] for each in admission(policy(ALL))[0]["spec"]["authorities"]}) == 3
    (document,) = admission(policy(predicates=(IMAGE_SIGNATURE, SBOM)))
    assert [each["glob"] for each in document["spec"]["images"]] == ["**"]
    (authority,) = document["spec"]["authorities"]
    assert authority["signatureFormat"] == "bundle"
    assert [each["predicateType"] for each in authority["attestations"]] == [IMAGE_SIGNATURE, SBOM]
    assert document["spec"]["mode"] == "enforce"


def matches(document: dict[str, Any], image: str) -> bool:
    """As policy-controller's pkg/apis/glob has it: the whole name counts, with its tag or, once resolved, its digest,
    and docker's hub by its older name; `*` is no slash, `**` anything."""
    globs = [
        re.escape(each["glob"]).replace(r"\*\*", ".*").replace(r"\*", "[^/]*") for each in document["spec"]["images"]
    ]
    return any(re.fullmatch(glob, image) for glob in globs)


@pytest.mark.parametrize("version", [":1", "@sha256:" + "ab" * 32])
def test_kubernetes_matches_images_of_the_same_repositories(version: str) -> None:
    asked = policy(repositories=("a.org:5000/team/*", "b.org/x", "docker.io/team/x", "docker.io/library/*"))
    (document,) = admission(asked)
    ours = (
        "a.org:5000/team/x",
        "a.org:5000/team/x/y",
        "b.org/x",
        "index.docker.io/team/x",
        "index.docker.io/library/x",
    )
    others = ("a.org:5000/teams/x", "a.org/team/x", "b.org/y", "b.org/x/y", "bxorg/x", "index.docker.io/other/x")
    assert [name for name in (*ours, *others) if matches(document, name + version)] == list(ours)
    told = export_policy(asked, "kubernetes", Path("x"), NOW).not_carried
    assert "where the name of b.org/x ends: b.org/x-more counts as well" in told
    assert not [each for each in told if "a.org" in each]


def test_what_a_tool_will_not_check_is_said() -> None:
    asked = policy(
        predicates=(IMAGE_SIGNATURE, SBOM),
        not_after=NOW + timedelta(1),
        ends={"Release": NOW + timedelta(1)},
        revoked_images=("sha256:" + "0" * 64,),
    )
    later = ("the end of key 'Release'", "the end of the policy", "revoked images")
    tags = "a tag that goes back to an older image"
    assert export_policy(asked, "kubernetes", Path("x"), NOW).not_carried == (*later, tags)
    assert export_policy(asked, "containers", Path("x"), NOW).not_carried == (
        f"statements of type {SBOM}",
        *later,
        tags,
    )
