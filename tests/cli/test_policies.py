"""`reprise verify` and `reprise policy export` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from oci_registry import OciRegistry, serve_registry
from small_image import Entry, make_image

from reprise.store import Store
from reprise.trust.keys import make_key
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.identity.bundle import public_pem


@pytest.fixture
def signed(reprise: Any, tmp_path: Path) -> str:
    """A signed image `small` in the store; its digest."""
    digest = make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}}).digest
    assert reprise("sign", "small").code == 0
    return digest


def add_rule(folder: Path, name: str, text: str, *, table: str = "") -> Path:
    """The user's own policy with more in it."""
    path = folder / f"{name}.toml"
    own = (folder / "home" / "policy.toml").read_text()
    path.write_text(f"{own}{text}\n{table}")
    return path


def test_each_rule_is_printed_and_the_exit_code_is_zero_only_when_all_hold(
    reprise: Any, signed: str, tmp_path: Path
) -> None:
    done = reprise("verify", "small")
    assert done.code == 0 and f"image {signed}" in done.out
    assert "  holds        signed statement" in done.out and "  not checked  transparency log" in done.out
    strict = add_rule(tmp_path, "strict", "log = true")
    refused = reprise("verify", "small", "--policy", strict, "--json")
    assert refused.code == 1
    document = json.loads(refused.out)
    assert document["holds"] is False
    (log,) = (each for each in document["rules"] if each["rule"] == "transparency log")
    assert (log["outcome"], log["required"]) == ("not checked", True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('repositories = ["a.org/x"]', "its repository is unknown"),
        ("[policy]\nnot_after = 2020-01-01T00:00:00Z", "it ends at 2020-01-01T00:00:00Z"),
        ('[revoked]\nimages = ["DIGEST"]', "among the revoked images"),
    ],
)
def test_a_rule_that_fails_is_said_with_its_reason(
    reprise: Any, signed: str, tmp_path: Path, text: str, said: str
) -> None:
    done = reprise("verify", "small", "--policy", add_rule(tmp_path, "p", text.replace("DIGEST", signed)))
    assert done.code == 1 and "  fails        " in done.out and said in done.out


def test_what_ended_is_judged_at_the_time_that_is_given(reprise: Any, signed: str, tmp_path: Path) -> None:
    policy = add_rule(tmp_path, "p", "[policy]\nnot_after = 2020-01-01T00:00:00Z")
    assert reprise("verify", "small", "--policy", policy, "--at", "2019-12-31T00:00:00Z").code == 0
    assert reprise("verify", "small", "--policy", policy, "--at", "yesterday").code == 65


def test_a_revoked_fingerprint_is_the_one_that_key_prints(reprise: Any, signed: str, tmp_path: Path) -> None:
    fingerprint = json.loads(reprise("key", "--json").out)["fingerprint"]
    done = reprise("verify", "small", "--policy", add_rule(tmp_path, "p", f'[revoked]\nkeys = ["{fingerprint}"]'))
    assert done.code == 1 and "key 'own' is revoked" in done.out


def test_a_tag_that_goes_back_is_refused_and_accepted_on_purpose(reprise: Any, signed: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    second = make_image(store, {"base": {"etc/name": Entry(b"y")}}).digest
    assert reprise("sign", second).code == 0
    with serve_registry(OciRegistry()) as registry:
        reference = f"{registry.host}/team/small:1"
        for digest in (signed, second):
            assert reprise("push", digest, reference).code == reprise("pull", reference).code == 0
            assert reprise("verify", reference).code == 0
        assert reprise("push", signed, reference).code == reprise("pull", reference).code == 0
    done = reprise("verify", reference)
    assert done.code == 1 and f"the last one accepted was {second}" in done.out
    assert reprise("verify", signed).code == 0
    assert reprise("verify", reference, "--accept-older").code == 0
    assert reprise("verify", reference).code == 0


def test_a_policy_is_exported_with_what_will_not_be_checked(reprise: Any, signed: str, tmp_path: Path) -> None:
    done = reprise("policy", "export", "--for", "containers", "--output", tmp_path / "out")
    assert done.code == 0 and f"wrote        {tmp_path / 'out' / 'policy.json'}" in done.out
    assert "not checked  a tag that goes back" in done.out
    done = reprise("policy", "export", "--for", "kubernetes", "--output", tmp_path / "k8s", "--json")
    assert json.loads(done.out)["files"] == [str(tmp_path / "k8s" / "cluster-image-policy.yaml")]


def test_a_policy_that_cannot_be_exported_leaves_no_file(reprise: Any, signed: str, tmp_path: Path) -> None:
    keys = "".join(
        f'[[keys]]\nname = "{name}"\npublic_key = """{public_pem(make_key().public_key())}"""\n' for name in "ab"
    )
    policy = add_rule(tmp_path, "p", "signers = 2", table=keys)
    done = reprise("policy", "export", "--for", "containers", "--output", tmp_path / "out", "--policy", policy)
    assert done.code == 65 and "2 of 3 signers cannot be exported" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["containers", "containerd", "kubernetes"])
@pytest.mark.parametrize("root", [None, b"{}", b"\xff"], ids=["none", "another", "no text"])
def test_a_policy_without_the_root_that_it_pins_is_not_exported(
    reprise: Any, signed: str, tmp_path: Path, target: str, root: bytes | None
) -> None:
    pinned = add_rule(tmp_path, "pinned", f'trusted_root = "sha256:{"0" * 64}"')
    if root is not None:
        (tmp_path / "trusted_root.json").write_bytes(root)
    done = reprise("policy", "export", "--for", target, "--output", tmp_path / "out", "--policy", pinned)
    assert done.code == (66 if root is None else 1) and "sha256:" in done.err, done
    assert not (tmp_path / "out").exists()


def test_a_pinned_root_that_is_no_text_is_one_message(reprise: Any, signed: str, tmp_path: Path) -> None:
    (tmp_path / "trusted_root.json").write_bytes(b"\xff")
    pinned = add_rule(tmp_path, "pinned", f'trusted_root = "{sha256_digest(bytes([255]))}"')
    done = reprise("policy", "export", "--for", "containerd", "--output", tmp_path / "out", "--policy", pinned)
    assert done.code == 65 and "the trusted root is not text" in done.err and not (tmp_path / "out").exists()


def test_the_verbs_show_an_example(reprise: Any) -> None:
    for arguments in (("policy", "--help"), ("policy", "export", "--help")):
        assert "reprise policy export --for" in reprise(*arguments).out
