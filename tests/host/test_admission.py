"""What a container runtime is told when it asks whether it may pull: by containerd's contract, and without a layer."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from oci_registry import OciRegistry, serve_registry
from small_image import put_index
from tests.interop.conftest import put_image
from typer.testing import CliRunner

from reprise.admission import DESCRIPTOR_TYPE, admit
from reprise.cli.verbs import make_app
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.trust.export_containerd import export_containerd
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image
from reprise_trainer.errors import DoesNotHoldError, InputError
from reprise_trainer.identity.policy import write_policy

OTHER = "sha256:" + "0" * 64
KEY = make_key()
Ask = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def registry() -> Iterator[OciRegistry]:
    with serve_registry(OciRegistry()) as served:
        yield served


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(write_policy(own_policy(KEY.public_key())))
    return path


@pytest.fixture
def signed(registry: OciRegistry, store: Store) -> tuple[str, str]:
    """Reference and digest of a signed image."""
    digest = put_image(store, "small")
    sign_image(store, digest, "small", KEY)
    push(store, digest, parse_reference(f"{registry.host}/admitted/small:1"))
    return f"{registry.host}/admitted/small:1", digest


@pytest.fixture
def ask(policy: Path) -> Ask:
    """Ask as containerd does; the exit code, and the reason on standard output."""

    def run(name: str, digest: str, said: object, media_type: str = DESCRIPTOR_TYPE, *more: str) -> tuple[int, str]:
        arguments = [
            "admit",
            "--policy",
            str(policy),
            "-name",
            name,
            "-digest",
            digest,
            "-stdin-media-type",
            media_type,
        ]
        document = said if isinstance(said, str) else json.dumps(said)
        done = CliRunner().invoke(make_app(), [*arguments, *more], input=document)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout

    return run


def descriptor(digest: str) -> dict[str, object]:
    return {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 3}


def test_a_signed_image_may_be_pulled_by_tag_or_digest(ask: Ask, signed: tuple[str, str]) -> None:
    reference, digest = signed
    code, reason = ask(reference, digest, descriptor(digest))
    assert code == 0 and "signed by key 'own'" in reason
    assert ask(f"{reference}@{digest}", digest, descriptor(digest))[0] == 0


def test_input_of_another_kind_is_not_judged(ask: Ask, signed: tuple[str, str]) -> None:
    reference, digest = signed
    kind = "application/vnd.containerd.image-verifier.input.v1+json"
    assert ask(reference, digest, {"operation": "run"}, kind, "-operation", "run")[0] == 0


def test_whatever_does_not_fit_is_refused_with_a_reason(ask: Ask, signed: tuple[str, str]) -> None:
    reference, digest = signed
    for name, resolved, said in (
        (reference, digest, descriptor(OTHER)),
        (reference, digest, "no JSON"),
        (reference, digest, []),
        (reference, digest, "[" * 100_000),
        (f"{reference}@{OTHER}", digest, descriptor(digest)),
        (reference, OTHER, descriptor(OTHER)),
        (reference, "sha512:1", descriptor("sha512:1")),
        ("127.0.0.1:1/gone:1", digest, descriptor(digest)),
        ("no-host", digest, descriptor(digest)),
    ):
        code, reason = ask(name, resolved, said)
        assert code != 0 and reason.startswith("reprise: "), (name, resolved, said)


def test_a_stranger_s_signature_and_none_are_refused(registry: OciRegistry, store: Store, policy: Path) -> None:
    rules = own_policy(KEY.public_key())
    for name in ("unsigned", "strange"):
        digest = put_image(store, name)
        if name == "strange":
            sign_image(store, digest, name, make_key())
        push(store, digest, parse_reference(f"{registry.host}/admitted/{name}:1"))
        with pytest.raises(DoesNotHoldError):
            admit(f"{registry.host}/admitted/{name}:1", digest, rules)


def test_no_layer_is_asked_for(registry: OciRegistry, signed: tuple[str, str], store: Store) -> None:
    registry.asked.clear()
    admit(*signed, own_policy(KEY.public_key()))
    layers = {layer["digest"] for layer in store.manifest(signed[1])["layers"]}
    assert not [each for each in registry.asked if any(digest in each.path for digest in layers)]


def test_of_an_index_itself_or_every_image_must_hold(registry: OciRegistry, store: Store) -> None:
    images = [put_image(store, name) for name in ("one", "two")]
    index = put_index(store, {"linux/amd64": images[0], "linux/arm64": images[1]})
    reference, rules = f"{registry.host}/admitted/index:1", own_policy(KEY.public_key())

    def admitted() -> bool:
        push(store, index, parse_reference(reference))
        try:
            admit(reference, index, rules)
        except DoesNotHoldError:
            return False
        return True

    assert not admitted()
    sign_image(store, images[0], "one", KEY)
    assert not admitted()
    sign_image(store, images[1], "two", KEY)
    assert admitted()


@pytest.mark.parametrize("signed", ["index", "images", "both"])
@pytest.mark.parametrize("revoked", ["image", "inner image", "inner index", "index"])
def test_no_signature_makes_good_what_is_revoked_in_an_index(
    registry: OciRegistry, store: Store, signed: str, revoked: str
) -> None:
    parts = {"image": put_image(store, "one"), "inner image": put_image(store, "two")}
    parts["inner index"] = put_index(store, {"linux/arm64": parts["inner image"]})
    parts["index"] = put_index(store, {"linux/amd64": parts["image"], "any/any": parts["inner index"]})
    for each in {"index": ["index"], "images": ["image", "inner index"], "both": [*parts]}[signed]:
        sign_image(store, parts[each], each, KEY)
    reference = f"{registry.host}/admitted/revoked-{signed}:1"
    push(store, parts["index"], parse_reference(reference))
    rules = own_policy(KEY.public_key())
    admit(reference, parts["index"], replace(rules, revoked_images=(OTHER,)))
    with pytest.raises(DoesNotHoldError, match=f"{parts[revoked]} is among the revoked images"):
        admit(reference, parts["index"], replace(rules, revoked_images=(OTHER, parts[revoked])))


def test_the_exported_program_asks_by_the_exported_policy(
    signed: tuple[str, str], policy: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "with space's"
    done = CliRunner().invoke(
        make_app(), ["policy", "export", "--for", "containerd", "--output", str(folder), "--policy", str(policy)]
    )
    assert done.exit_code == 0 and "not checked  a tag that goes back" in done.stdout
    policy.unlink()
    (program,) = (folder / "bin").iterdir()  # containerd calls every file in that folder
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    reference, digest = signed
    for name, code in ((reference, 0), (f"{reference}x", 66)):
        arguments = ["-name", name, "-digest", digest, "-stdin-media-type", DESCRIPTOR_TYPE]
        if code:
            arguments[3] = OTHER
        asked = json.dumps(descriptor(arguments[3]))
        answered = subprocess.run([program, *arguments], input=asked, capture_output=True, text=True, env={})
        assert answered.returncode == code, answered
    assert f'bin_dir = "{folder}/bin"' in (folder / "config.toml").read_text()


def test_a_folder_that_toml_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be named"):
        export_containerd(b"", b"", tmp_path / 'quote"', "/usr/bin/python3")
