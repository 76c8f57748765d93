from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reprise.trust.keys import home, load_key, load_or_make_key, make_key, private_pem
from reprise.trust.policy_file import load_or_make_policy, load_policy, own_policy
from reprise_trainer.errors import InputError, NotFoundError, StorageError
from reprise_trainer.identity.bundle import public_pem


def test_the_first_use_makes_a_key_that_only_the_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "signing-key.pem"
    key = load_or_make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert public_pem(load_or_make_key(path).public_key()) == public_pem(key.public_key())


def test_a_permissive_umask_does_not_open_the_key(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_or_make_key(tmp_path / "key.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_processes_that_come_first_at_once_end_with_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: public_pem(load_or_make_key(tmp_path / "key.pem").public_key()), range(16)))
    assert len(set(keys)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620])
def test_a_key_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    load_or_make_key(path)
    path.chmod(mode)
    with pytest.raises(InputError, match=f"mode {mode:04o}, expected 0600"):
        load_or_make_key(path)


@pytest.mark.parametrize("text", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(InputError, match="not a PEM private key"):
        load_key(path)
    assert path.read_bytes() == text


def test_a_key_on_another_curve_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(
        ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    path.chmod(0o600)
    with pytest.raises(InputError, match="not an ECDSA key on P-256"):
        load_key(path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.pem"):
        load_key(tmp_path / "none.pem")


def test_a_full_disk_leaves_nothing(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"\0" * (4 * 2**20 - 4096))
    for number in range(100):
        try:
            load_or_make_key(small_disk / f"key-{number}.pem")
        except StorageError as error:
            assert f"key-{number}.pem" in str(error)
            assert not (small_disk / f"key-{number}.pem").exists()
            assert not [path for path in small_disk.iterdir() if path.name.startswith(".")]
            return
    pytest.fail("the disk never filled")


def test_the_home_is_named_by_the_environment(tmp_path: Path) -> None:
    program = "from reprise.trust.keys import load_or_make_key; load_or_make_key()"
    subprocess.run([sys.executable, "-c", program], env={**os.environ, "REPRISE_HOME": str(tmp_path / "h")}, check=True)
    assert (tmp_path / "h" / "signing-key.pem").exists()


def test_without_a_name_the_home_is_the_users_configuration_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPRISE_HOME", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/somewhere/config")
    assert home() == Path("/somewhere/config/reprise")


def test_the_first_policy_trusts_the_own_key_alone(tmp_path: Path) -> None:
    key = make_key().public_key()
    path = tmp_path / "new" / "policy.toml"
    assert load_or_make_policy(key, path) == own_policy(key) == load_policy(path)


def test_a_policy_that_is_there_is_kept(tmp_path: Path) -> None:
    mine, other = make_key().public_key(), make_key().public_key()
    path = tmp_path / "policy.toml"
    load_or_make_policy(mine, path)
    assert load_or_make_policy(other, path) == own_policy(mine)


def test_a_missing_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"none\.toml"):
        load_policy(tmp_path / "none.toml")


def test_a_private_key_round_trips(tmp_path: Path) -> None:
    key = make_key()
    path = tmp_path / "key.pem"
    path.write_bytes(private_pem(key))
    path.chmod(0o400)
    assert public_pem(load_key(path).public_key()) == public_pem(key.public_key())
