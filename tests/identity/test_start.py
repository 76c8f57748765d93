"""The whole check at a start, on an unpacked image with real signatures: what holds passes, each sabotage is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.identity.conftest import MOUNTS, OTHER, PAST, SBOM, Start

from reprise_trainer.errors import RefusedError
from reprise_trainer.identity.bundle import (
    DELEGATION,
    IMAGE_SIGNATURE,
    make_statement,
    public_pem,
    sign_statement,
)
from reprise_trainer.identity.launch import (
    BUNDLE_FILE,
    LAUNCH_FILE,
    MORE_BUNDLES,
    POLICY_FILE,
)
from reprise_trainer.identity.mounts import Mount
from reprise_trainer.identity.policy import Policy, PolicyKey, SignerIdentity, write_policy
from reprise_trainer.identity.process import MappedFile


def test_an_image_as_it_was_built_told_and_signed_knows_itself(start: Start) -> None:
    identity = start.verify()
    assert identity.digest == start.digest
    assert identity.key_name == "release"
    assert identity.launch.run == "run-1"
    assert identity.line().startswith(f"image {start.digest} measured: ")


def test_a_changed_file_is_refused_by_name(start: Start) -> None:
    path = next(start.root.rglob("libtorch.so"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    message = start.refusal()
    assert message.startswith("this is not the image as it was built: 1 difference\n")
    assert "libtorch.so: bytes changed: expected sha256 " in message


def test_twenty_differences_are_named_and_the_rest_counted(start: Start) -> None:
    for number in range(25):
        (start.root / "usr/lib" / f"added{number:02}.py").write_text("")
    message = start.refusal()
    assert message.startswith("this is not the image as it was built: 25 differences\n")
    assert message.count("added: no layer lists it") == 20
    assert "/usr/lib/added19.py" in message
    assert "/usr/lib/added20.py" not in message
    assert message.endswith("… and 5 more")


def test_the_wrong_expected_digest_is_refused_with_both(start: Start) -> None:
    start.tell(OTHER)
    assert start.refusal() == f"wrong image: the launcher asked for {OTHER}, this one measures {start.digest}"


def test_a_bundle_for_another_image_is_refused_with_both(start: Start) -> None:
    start.sign(OTHER)
    message = start.refusal()
    assert message.startswith(f"the policy does not hold for image {start.digest}: ")
    assert message.endswith(f"a statement by key 'release' is about another image: {OTHER}")


def test_no_bundle_is_refused(start: Start) -> None:
    (start.folder / BUNDLE_FILE).unlink()
    assert start.refusal().startswith(f"image {start.digest} comes without a signature: ")


def test_a_damaged_bundle_is_refused(start: Start) -> None:
    (start.folder / BUNDLE_FILE).write_bytes(b"{}")
    assert start.refusal().startswith(f"the policy does not hold for image {start.digest}: ")
    assert "not a Sigstore bundle" in start.refusal()


def test_a_bundle_by_a_stranger_is_refused_and_the_trusted_keys_named(start: Start) -> None:
    replace(start, key=ec.generate_private_key(ec.SECP256R1())).sign(start.digest)
    assert "not by a known key (tried: release)" in start.refusal()


def test_a_statement_of_another_kind_is_no_image_signature(start: Start) -> None:
    start.sign(start.digest, DELEGATION, {"run": "x"})
    message = start.refusal()
    assert f"signed statement {IMAGE_SIGNATURE}: there are only statements of type {DELEGATION}" in message


def key_policy(start: Start, **changes: Any) -> Policy:
    return Policy((PolicyKey("release", public_pem(start.key.public_key()), changes.pop("key_ends", None)),), **changes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"not_after": PAST}, "policy has not ended: it ends at 2026-01-01"),
        ({"key_ends": PAST}, "key 'release' ended at 2026-01-01"),
        ({"predicates": (IMAGE_SIGNATURE, SBOM)}, f"signed statement {SBOM}"),
        ({"trusted_root": OTHER}, "trusted root: nothing here reads"),
        ({"log": True}, "transparency log: nothing here checks an entry"),
        ({"time": True}, "proven time: nothing here checks"),
        ({"identities": (SignerIdentity("https://issuer", "me"),)}, "trusted root: the policy pins none"),
    ],
)
def test_the_trainer_judges_what_the_policy_asks(start: Start, changes: dict[str, Any], why: str) -> None:
    (start.folder / POLICY_FILE).write_text(write_policy(key_policy(start, **changes)))
    assert why in start.refusal()


@pytest.mark.parametrize("what", ["key", "image"])
def test_the_trainer_knows_what_is_revoked(start: Start, what: str) -> None:
    policy = key_policy(start)
    gone = {"revoked_keys": (policy.keys[0].fingerprint,)} if what == "key" else {"revoked_images": (start.digest,)}
    (start.folder / POLICY_FILE).write_text(write_policy(key_policy(start, **gone)))
    assert ("is revoked" if what == "key" else "among the revoked images") in start.refusal()


def test_several_statements_are_found_in_the_launch_folder(start: Start) -> None:
    second = ec.generate_private_key(ec.SECP256R1())
    keys = (*key_policy(start).keys, PolicyKey("rebuilder", public_pem(second.public_key())))
    (start.folder / POLICY_FILE).write_text(write_policy(Policy(keys, signers=2)))
    assert "signed by key 'release': 1 of at least 2 signers" in start.refusal()
    statement = make_statement("small", start.digest, IMAGE_SIGNATURE, {})
    (start.folder / MORE_BUNDLES.replace("*", "001")).write_bytes(sign_statement(second, statement))
    assert start.verify().key_name == "rebuilder, release"


def test_a_launch_file_of_a_gigabyte_is_refused_unread(start: Start) -> None:
    with (start.folder / BUNDLE_FILE).open("wb") as file:
        file.truncate(1 << 30)
    assert "has more than 16777216 bytes" in start.refusal()


def test_where_the_image_came_from_is_the_launchers_to_judge(start: Start) -> None:
    policy = key_policy(start, repositories=("registry.example.org/team/*",))
    (start.folder / POLICY_FILE).write_text(write_policy(policy))
    assert start.verify().key_name == "release"


@pytest.mark.parametrize("name", [LAUNCH_FILE, POLICY_FILE])
def test_a_launch_folder_without_a_file_is_refused_by_its_name(start: Start, name: str) -> None:
    (start.folder / name).unlink()
    assert f"{start.folder / name} can't be read" in start.refusal()


@pytest.mark.parametrize("data", [b"", b"[]", b'{"format":2}', b'{"format":1,"image":"x"}', b"\xff"])
def test_a_malformed_launch_is_refused(start: Start, data: bytes) -> None:
    (start.folder / LAUNCH_FILE).write_bytes(data)
    assert LAUNCH_FILE in start.refusal()


def test_an_inventory_edited_to_fit_the_files_is_another_image(start: Start) -> None:
    path = start.root / "usr/share/reprise/inventory.json"
    path.write_bytes(path.read_bytes().replace(b'"created":"2026-01-01', b'"created":"2027-01-01'))
    assert start.refusal().startswith(f"wrong image: the launcher asked for {start.digest}, this one measures sha256:")


def test_a_file_mounted_over_a_module_is_refused_by_name(start: Start) -> None:
    module = str(next(start.root.rglob("json.py")).relative_to(start.root))
    (start.root / module).write_text("evil")
    message = start.refusal(mounts=(*MOUNTS, Mount(module, "/evil.py", "ext4", read_only=True)))
    assert f"/{module}: mounted over the image (ext4)" in message
    assert f"/{module}: bytes changed" in message  # an unallowed mount hides nothing


def test_a_writable_root_is_refused(start: Start) -> None:
    assert "the root is writable" in start.refusal(mounts=(replace(MOUNTS[0], read_only=False),))


def test_a_preload_is_refused_by_name(start: Start) -> None:
    preload = replace(start.process, environment=start.process.environment | {("LD_PRELOAD", "/data/evil.so")})
    assert "LD_PRELOAD='/data/evil.so' is set" in start.refusal(process=preload)


def test_a_library_mapped_from_outside_is_refused_by_name(start: Start) -> None:
    process = replace(start.process, mapped=frozenset({MappedFile("/data/evil.so", executable=True)}))
    assert "/data/evil.so: mapped into the process as code" in start.refusal(process=process)


def test_the_profiles_switches_are_part_of_the_check(start: Start) -> None:
    process = replace(start.process, environment=start.process.environment | {("OMP_NUM_THREADS", "1")})
    assert start.verify(process=process, OMP_NUM_THREADS="1").digest == start.digest
    with pytest.raises(RefusedError, match="OMP_NUM_THREADS is '1', the image says '2'"):
        start.verify(process=process, OMP_NUM_THREADS="2")


def test_several_kinds_of_difference_are_named_together(start: Start) -> None:
    next(start.root.rglob("json.py")).chmod(0o600)
    process = replace(start.process, isolated=False)
    message = start.refusal(process=process, mounts=(*MOUNTS, Mount("opt", "/", "ext4", read_only=True)))
    assert "3 differences" in message
    assert all(each in message for each in ("without -I", "/opt: mounted over", "json.py: mode changed"))


SECRETS = (*MOUNTS, Mount("run/secrets", "/tmp/secrets", "ext4", read_only=True))


def test_secrets_that_are_mounted_are_no_difference_from_the_image(start: Start) -> None:
    (start.root / "run/secrets").mkdir()
    (start.root / "run/secrets/token").write_text("x")
    assert start.verify(mounts=SECRETS).digest == start.digest
    assert "/run/secrets: added: no layer lists it" in start.refusal()


def test_a_mounted_secret_is_a_small_regular_file_with_a_plain_name(start: Start) -> None:
    folder = start.root / "run/secrets"
    (folder / "folder").mkdir(parents=True)
    (folder / "link").symlink_to("token")
    (folder / "large").write_bytes(b"x" * ((64 << 10) + 1))
    (folder / ".hidden\n").write_text("hunter22")
    message = start.refusal(mounts=SECRETS)
    assert message.startswith("this is not the image as it was built: 4 differences\n")
    assert "/run/secrets/folder: not a regular file" in message and "/run/secrets/link: not a regular file" in message
    assert "/run/secrets/large: 65,537 bytes are more than a secret has (65,536)" in message
    assert r"/run/secrets/.hidden\n: no secret is called so" in message and "hunter22" not in message
