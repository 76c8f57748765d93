"""skopeo, the program, under an exported policy: what it accepts and what it rejects.

It reads signatures of the older kind (`sha256-….sig`) alone.
"""

from __future__ import annotations

import base64
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.registry.older_signatures import write_signatures
from reprise.registry.reference import parse_reference
from reprise.registry.repository import open_repository
from reprise.registry.upload import upload_blob
from reprise.store import Store
from reprise.trust.export import export_policy, write_export
from reprise.trust.keys import make_key
from reprise.trust.simple_signing import SimpleSignature, sign_simply, simple_payload
from reprise_trainer.identity.bundle import public_pem
from reprise_trainer.identity.policy import Policy, PolicyKey

from .conftest import put_image

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OWN, REBUILDER, STRANGER = make_key(), make_key(), make_key()


class Place:
    """A repository of the registry and an image in it."""

    def __init__(self, store: Store, registry: Any, repository: str) -> None:
        self.store, self.registry, self.repository = store, registry, repository
        self.digest = put_image(store, repository.replace("/", "-"))
        self.reference = registry.push(store, self.digest, f"{repository}:1")

    def sign(self, *keys: ec.EllipticCurvePrivateKey) -> None:
        """What `reprise sign --repository` and `reprise push` do."""
        for key in keys:
            sign_simply(self.store, self.digest, f"{self.registry.host}/{self.repository}", key)
        self.registry.push(self.store, self.digest, f"{self.repository}:1")

    def forge(self, key: ec.EllipticCurvePrivateKey, *, digest: str = "", repository: str = "") -> None:
        """A signature that names something else, where this image's signatures are."""
        payload = simple_payload(digest or self.digest, f"{self.registry.host}/{repository or self.repository}")
        signature = base64.b64encode(key.sign(payload, ec.ECDSA(hashes.SHA256()))).decode()
        blob, where = self.store.add(payload), open_repository(parse_reference(self.reference))
        upload_blob(where, self.store.path(blob), blob, len(payload))
        assert write_signatures(self.store, where, self.digest, [SimpleSignature(payload, blob, signature, "", "")])


@pytest.fixture
def place(tmp_path: Path, registry: Any, request: pytest.FixtureRequest) -> Place:
    name = "".join(char if char.isalnum() else "-" for char in request.node.name.lower()).strip("-")
    while "--" in name:
        name = name.replace("--", "-")
    return Place(Store.open(tmp_path / "store"), registry, f"policies/{name}")


def copied(skopeo: Any, place: Place, policy: Policy, folder: Path) -> subprocess.CompletedProcess[str]:
    """What skopeo says, asked for the image under the exported policy."""
    write_export(export_policy(policy, "containers", folder / "exported", NOW), folder / "exported")
    done: subprocess.CompletedProcess[str] = skopeo(
        *(
            "--policy",
            str(folder / "exported" / "policy.json"),
            "--registries.d",
            str(folder / "exported/registries.d"),
        ),
        *("copy", "--remove-signatures", "--src-tls-verify=false"),
        *(f"docker://{place.reference}", f"dir:{folder / 'copy'}"),
        check=False,
    )
    return done


def policy(place: Place, *keys: ec.EllipticCurvePrivateKey, signers: int = 1, pattern: str = "") -> Policy:
    named = tuple(PolicyKey(f"key {number}", public_pem(key.public_key())) for number, key in enumerate(keys, 1))
    return Policy(named, signers=signers, repositories=(f"{place.registry.host}/{pattern or place.repository}",))


@pytest.mark.parametrize("pattern", ["", "policies/*", "*"])
def test_a_signed_image_of_an_allowed_repository_is_accepted(
    new_skopeo: Any, place: Place, tmp_path: Path, pattern: str
) -> None:
    place.sign(OWN)
    done = copied(new_skopeo, place, policy(place, OWN, pattern=pattern), tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy" / "manifest.json").read_bytes() == place.store.read(place.digest)


def rejected(done: subprocess.CompletedProcess[str], why: str) -> bool:
    return done.returncode != 0 and why in done.stderr


def test_an_image_outside_the_allowed_repositories_is_rejected(new_skopeo: Any, place: Place, tmp_path: Path) -> None:
    place.sign(OWN)
    done = copied(new_skopeo, place, policy(place, OWN, pattern="elsewhere/*"), tmp_path)
    assert rejected(done, "is rejected by policy"), done.stderr


def test_an_unsigned_image_is_rejected(new_skopeo: Any, place: Place, tmp_path: Path) -> None:
    done = copied(new_skopeo, place, policy(place, OWN), tmp_path)
    assert rejected(done, "A signature was required, but no signature exists"), done.stderr


def test_a_bundle_alone_is_no_signature_to_it(new_skopeo: Any, place: Place, tmp_path: Path) -> None:
    from reprise.trust.sign import sign_image

    sign_image(place.store, place.digest, "small", OWN)
    place.registry.push(place.store, place.digest, f"{place.repository}:1")
    done = copied(new_skopeo, place, policy(place, OWN), tmp_path)
    assert rejected(done, "A signature was required, but no signature exists"), done.stderr


def test_a_strangers_signature_is_rejected(new_skopeo: Any, place: Place, tmp_path: Path) -> None:
    place.sign(STRANGER)
    done = copied(new_skopeo, place, policy(place, OWN), tmp_path)
    assert rejected(done, "ryptographic signature verification failed"), done.stderr


def test_another_images_signature_is_rejected(new_skopeo: Any, place: Place, tmp_path: Path) -> None:
    place.forge(OWN, digest="sha256:" + "0" * 64)
    done = copied(new_skopeo, place, policy(place, OWN), tmp_path)
    assert rejected(done, "igest"), done.stderr


def test_another_repositorys_signature_is_rejected(new_skopeo: Any, place: Place, tmp_path: Path) -> None:
    place.forge(OWN, repository="policies/other")
    done = copied(new_skopeo, place, policy(place, OWN), tmp_path)
    assert rejected(done, "policies/other"), done.stderr


def test_any_of_the_keys_is_enough_when_one_signer_is_asked_for(new_skopeo: Any, place: Place, tmp_path: Path) -> None:
    place.sign(REBUILDER)
    done = copied(new_skopeo, place, policy(place, OWN, REBUILDER), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("both", [True, False])
def test_all_keys_must_have_signed_when_as_many_signers_are_asked_for(
    new_skopeo: Any, place: Place, tmp_path: Path, both: bool
) -> None:
    place.sign(OWN, *([REBUILDER] if both else []))
    done = copied(new_skopeo, place, policy(place, OWN, REBUILDER, signers=2), tmp_path)
    assert (done.returncode == 0) == both, done.stderr


def test_a_skopeo_that_knows_no_sigstore_signatures_accepts_nothing(skopeo: Any, place: Place, tmp_path: Path) -> None:
    place.sign(OWN)
    assert copied(skopeo, place, policy(place, OWN), tmp_path).returncode != 0
    assert not (tmp_path / "copy" / "manifest.json").exists()


def test_podman_pulls_nothing_that_the_exported_policy_does_not_name(podman: Any, place: Place, tmp_path: Path) -> None:
    exported = export_policy(policy(place, OWN, pattern="elsewhere/*"), "containers", tmp_path / "exported", NOW)
    write_export(exported, tmp_path / "exported")
    rules = str(tmp_path / "exported" / "policy.json")
    done = podman("pull", "--tls-verify=false", "--signature-policy", rules, place.reference, check=False)
    assert rejected(done, "is rejected by policy"), done.stderr
