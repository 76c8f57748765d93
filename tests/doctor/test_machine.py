"""The machine is varied by real means: what `reprise doctor` says follows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oci_registry import OciRegistry, serve_registry
from servers import program
from small_image import Entry, make_image

from reprise.doctor import trust_files
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.trust.encrypted_pem import encrypted_pem
from reprise.trust.keys import make_key, private_pem
from reprise.trust.policy_file import own_policy
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.identity.policy import Policy, SignerIdentity, write_policy

ENGINES = ("engine namespaces", "engine docker", "engine podman")

Doctor = Callable[..., dict[str, Any]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with key and policy, as they should be."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    key = make_key()
    (folder / "policy.toml").write_text(write_policy(own_policy(key.public_key())))
    (folder / "policy.toml").chmod(0o644)
    (folder / "signing-key.pem").touch(mode=0o600)
    (folder / "signing-key.pem").write_bytes(private_pem(key))
    return folder


@pytest.fixture
def doctor(home: Path, tmp_path: Path) -> Doctor:
    """Run `reprise doctor --json`; findings by name, and the exit code under "code"."""

    def run(*arguments: str, prefix: tuple[str, ...] = (), **variables: str) -> dict[str, Any]:
        command = [*prefix, sys.executable, "-m", "reprise", "doctor", *arguments, "--json"]
        environment = {
            **os.environ,
            "REPRISE_HOME": str(home),
            "REPRISE_STORE": str(tmp_path / "store"),
            "DOCKER_HOST": f"unix://{tmp_path}/no.sock",
            **variables,
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert "Traceback" not in done.stderr, done.stderr
        document = json.loads(done.stdout)
        assert document["healthy"] == (done.returncode == 0)
        assert done.returncode in (0, 1)
        assert all(each["todo"] for each in document["findings"] if each["state"] != "ok"), document
        return {each["name"]: each for each in document["findings"]} | {"code": done.returncode}

    return run


def test_a_machine_that_is_fine_has_no_problem_and_is_left_as_it_was(doctor: Doctor, tmp_path: Path) -> None:
    found = doctor()
    assert found["code"] == 0, found
    for name in ("user namespaces", "engine namespaces", "seccomp", "clock", "policy", "signing key"):
        assert found[name]["state"] == "ok", found[name]
    assert found["engine docker"]["state"] == "warning"
    assert not (tmp_path / "store").exists()


def test_an_overlay_is_mounted_where_the_engine_mounts_one(doctor: Doctor) -> None:
    """Tried with the folder for temporary files on another file system, and beside an own mount of the kernel's."""
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", "cd $(mktemp -d) && mkdir l u m"
         " && mount -t overlay overlay -o lowerdir=u:l m && umount m"],
        capture_output=True,
    )  # fmt: skip
    state = doctor()["overlayfs in user namespaces"]["state"]
    assert state == ("ok" if tried.returncode == 0 else "warning")


def test_without_user_namespaces_and_daemons_there_is_no_engine(doctor: Doctor, tmp_path: Path) -> None:
    """A namespace in which no more can be made, no capability with which to do without them, a PATH without podman."""
    for tool in ("unshare", "sh", "setpriv"):
        (tmp_path / tool).symlink_to(program(tool, "util-linux"))
    limit = 'echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    inside = ("unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh")
    found = doctor(prefix=inside, PATH=str(tmp_path))
    assert found["code"] == 1
    assert found["user namespaces"]["state"] == "warning" and found["user namespaces"]["what"].startswith(
        "can't be made"
    )
    assert {found[name]["state"] for name in ENGINES} == {"problem"}


def test_docker_that_answers_is_an_engine(doctor: Doctor, docker_daemon: str) -> None:
    finding = doctor(DOCKER_HOST=docker_daemon)["engine docker"]
    assert finding["state"] == "ok" and "runc" in finding["what"]


def test_podman_that_answers_is_an_engine(doctor: Doctor, own_podman: None, tmp_path: Path) -> None:
    assert doctor()["engine podman"]["state"] == "ok"
    (tmp_path / "broken.conf").write_text("[storage]\ndriver = 'none-such'\n")
    broken = doctor(CONTAINERS_STORAGE_CONF=str(tmp_path / "broken.conf"))["engine podman"]
    assert broken["state"] == "warning" and "runroot must be set" in broken["what"]


def test_a_small_disk_is_a_problem_of_the_store_alone(doctor: Doctor, small_disk: Path) -> None:
    found = doctor("--store", str(small_disk / "store"))
    assert found["code"] == 1
    assert found["disk, store"]["state"] == "problem" and str(small_disk) in found["disk, store"]["what"]
    assert found["disk, temporary files"]["state"] == "ok"
    assert doctor(TMPDIR=str(small_disk))["disk, temporary files"]["state"] == "problem"


def test_few_inodes_are_a_problem(doctor: Doctor, tmp_path: Path) -> None:
    disk = tmp_path / "inodes"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30g,nr_inodes=1000", "tmpfs", str(disk)], check=True)
    try:
        found = doctor("--store", str(disk))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert found["disk, store"]["state"] == "ok" and found["inodes, store"]["state"] == "problem"


def test_a_disk_that_can_only_be_read_is_a_problem(doctor: Doctor, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert doctor("--store", str(small_disk / "store"))["writing, store"]["state"] == "problem"


@pytest.mark.parametrize(("shift", "state"), [("-2h", "problem"), ("+3h", "problem"), ("-5m", "warning"), ("+0", "ok")])
def test_a_clock_that_is_wrong_is_seen_against_the_registrys(
    doctor: Doctor, tmp_path: Path, shift: str, state: str
) -> None:
    origin = Store.open(tmp_path / "origin")
    digest = make_image(origin, {"base": {"etc/name": Entry(b"x")}}).digest
    with serve_registry(OciRegistry()) as registry:
        reference = f"{registry.host}/team/small:1"
        push(origin, digest, parse_reference(reference))
        found = doctor(reference, prefix=(program("faketime", "faketime"), "-f", shift))
    assert found["clock"]["state"] == state, found["clock"]
    assert found[f"registry {registry.host}"]["what"] == f"{reference} is {digest}"


def test_a_clock_that_is_behind_is_seen_against_files_without_a_registry(doctor: Doctor) -> None:
    found = doctor(prefix=(program("faketime", "faketime"), "2020-01-01 00:00:00"))
    assert found["clock"]["state"] == "problem" and found["code"] == 1


def test_a_registry_that_is_not_there_or_lacks_the_image_is_a_problem(doctor: Doctor) -> None:
    silent = doctor("127.0.0.1:1/team/small:1")
    assert silent["registry 127.0.0.1:1"]["state"] == "problem" and silent["code"] == 1
    with serve_registry(OciRegistry()) as registry:
        found = doctor(f"{registry.host}/team/small:1")[f"registry {registry.host}"]
    assert found["state"] == "problem" and "does not have" in found["what"]


def test_a_registry_that_denies_access_is_a_problem(doctor: Doctor, tmp_path: Path) -> None:
    with serve_registry(OciRegistry(password="secret")) as registry:
        found = doctor(f"{registry.host}/team/small:1", DOCKER_CONFIG=str(tmp_path))[f"registry {registry.host}"]
    assert found["state"] == "problem" and "docker login" in found["todo"]


def test_a_key_with_a_passphrase_is_not_asked_for_it(doctor: Doctor, home: Path) -> None:
    (home / "signing-key.pem").write_bytes(encrypted_pem(make_key(), b"a passphrase"))
    (home / "signing-key.pem").chmod(0o600)
    found = doctor()["signing key"]
    assert found["state"] == "ok" and "has a passphrase" in found["what"]


@pytest.mark.parametrize(
    ("spoil", "name", "said"),
    [
        (lambda home: (home / "policy.toml").chmod(0o666), "policy", "others can change"),
        (lambda home: home.chmod(0o777), "policy", "others can change"),
        (lambda home: (home / "policy.toml").write_text("[[key]]"), "policy", "unknown key"),
        (lambda home: (home / "signing-key.pem").chmod(0o644), "signing key", "can be used by others"),
        (lambda home: (home / "signing-key.pem").write_text("x"), "signing key", "not a PEM private key"),
    ],
)
def test_a_policy_or_key_that_is_not_safe_is_a_problem(
    doctor: Doctor, home: Path, spoil: Callable[[Path], None], name: str, said: str
) -> None:
    spoil(home)
    found = doctor()
    assert found[name]["state"] == "problem" and said in found[name]["what"] and found["code"] == 1


def test_without_a_policy_there_is_a_warning_and_a_named_one_must_exist(doctor: Doctor, home: Path) -> None:
    (home / "policy.toml").unlink()
    assert doctor()["policy"]["state"] == "warning"
    assert doctor("--policy", str(home / "policy.toml"))["policy"]["state"] == "problem"


def test_a_store_beside_it_is_left_alone(doctor: Doctor, tmp_path: Path) -> None:
    Store.open(tmp_path / "store")
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "store").rglob("*"))
    doctor("nowhere")
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "store").rglob("*")) == before
    shutil.rmtree(tmp_path / "store")


def test_the_trusted_root_of_a_keyless_policy_is_looked_for(tmp_path: Path) -> None:
    place, root = tmp_path / "policy.toml", b"{}"
    identities = (SignerIdentity("https://issuer.example.org", "me@example.org"),)
    place.write_text(write_policy(Policy((), identities=identities)))
    assert "pins none" in trust_files.policy(place).what
    place.write_text(write_policy(Policy((), identities=identities, trusted_root=sha256_digest(root))))
    assert "is not here" in trust_files.policy(place).what
    (tmp_path / "trusted_root.json").write_bytes(root + b" ")
    found = trust_files.policy(place)
    assert found.state == "problem" and "pinned is" in found.what and "trusted_root.json" in found.todo
    (tmp_path / "trusted_root.json").write_bytes(root)
    assert trust_files.policy(place).state == "ok" and "me@example.org" in trust_files.policy(place).what
