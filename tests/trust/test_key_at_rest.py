"""A key under a passphrase: as OpenSSL reads and writes it, changed, given wrongly, and from each of its sources."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from reprise.trust.encrypted_pem import encrypted_pem
from reprise.trust.keys import change_passphrase, encrypt_key, is_encrypted, load_key, load_or_make_key, make_key
from reprise.trust.passphrase import from_command, from_descriptor, refuse
from reprise_trainer.errors import InputError, NotFoundError
from reprise_trainer.identity.bundle import public_pem

SECRET, OTHER = b"correct horse \xc3\xa4\xff battery", b"another"
REPRISE = (sys.executable, "-m", "reprise", "key")


def saying(secret: bytes):  # type: ignore[no-untyped-def]
    return lambda what: secret


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key.pem"


def openssl(*arguments: str | Path, secret: bytes) -> subprocess.CompletedProcess[bytes]:
    """`openssl`, with the passphrase on standard input, where it may be any bytes."""
    return subprocess.run(["openssl", *map(str, arguments)], input=secret + b"\n", capture_output=True, timeout=60)


@pytest.mark.parametrize("secret", [SECRET, b"x", b"p" * 1000], ids=["bytes", "short", "long"])
def test_openssl_opens_the_file_with_the_passphrase_alone(path: Path, secret: bytes) -> None:
    key = encrypt_key(path, saying(secret))
    read = openssl("pkey", "-in", path, "-passin", "stdin", "-pubout", secret=secret)
    assert read.stdout.decode() == public_pem(key.public_key())
    assert openssl("pkey", "-in", path, "-passin", "stdin", "-pubout", secret=b"wrong").returncode != 0
    assert b"scrypt" in openssl("asn1parse", "-in", path, secret=b"").stdout


def test_a_key_that_openssl_encrypted_is_read(path: Path) -> None:
    plain = path.with_name("plain.pem")
    key = load_or_make_key(plain)
    for options in (["-scrypt"], ["-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512"]):
        arguments = ["pkcs8", "-topk8", *options, "-in", plain, "-passout", "stdin", "-out", path]
        assert openssl(*arguments, secret=SECRET).returncode == 0
        path.chmod(0o600)
        assert load_key(path, saying(SECRET)).private_numbers() == key.private_numbers()


def test_a_new_key_is_encrypted_from_its_first_byte_on(path: Path) -> None:
    key = encrypt_key(path, saying(SECRET))
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert is_encrypted(path) and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path, saying(SECRET)).private_numbers() == key.private_numbers()
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_key_that_another_process_made_meanwhile_stays_and_is_not_said_to_be_this_one(path: Path) -> None:
    def typed_slowly(what: str) -> bytes:
        load_or_make_key(path)
        return SECRET

    with pytest.raises(InputError, match="was made meanwhile"):
        encrypt_key(path, typed_slowly)
    assert not is_encrypted(path) and [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_descriptor_that_no_process_has_is_named() -> None:
    for number in (99_999_999_999, 1 << 80):
        with pytest.raises(InputError, match=f"of it from file descriptor {number}: "):
            from_descriptor(number)("it")


def test_a_key_keeps_its_identity_when_it_is_encrypted_and_changed(path: Path) -> None:
    key = load_or_make_key(path)
    assert not is_encrypted(path)
    encrypt_key(path, saying(SECRET))
    change_passphrase(path, saying(SECRET), saying(OTHER))
    assert load_key(path, saying(OTHER)).private_numbers() == key.private_numbers()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(InputError, match="does not open"):
        load_key(path, saying(SECRET))


def test_a_linked_key_stays_a_link(path: Path, tmp_path: Path) -> None:
    load_or_make_key(tmp_path / "real.pem")
    path.symlink_to(tmp_path / "real.pem")
    encrypt_key(path, saying(SECRET))
    assert path.is_symlink() and is_encrypted(tmp_path / "real.pem")


def test_the_same_key_and_passphrase_never_give_the_same_file() -> None:
    key = make_key()
    assert encrypted_pem(key, SECRET) != encrypted_pem(key, SECRET)


def test_a_wrong_passphrase_changes_nothing(path: Path) -> None:
    encrypt_key(path, saying(SECRET))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"does not open the signing key .*key\.pem"):
        change_passphrase(path, saying(OTHER), saying(SECRET))
    with pytest.raises(InputError, match="encrypted already"):
        encrypt_key(path, saying(OTHER))
    with pytest.raises(InputError, match="nothing gives its passphrase"):
        load_key(path, refuse)
    assert path.read_bytes() == before


def test_a_plain_key_has_no_passphrase_to_change(path: Path) -> None:
    load_or_make_key(path)
    with pytest.raises(InputError, match="is not encrypted"):
        change_passphrase(path, saying(SECRET), saying(OTHER))


@pytest.mark.parametrize("at", [60, 150, 280])
def test_a_damaged_file_is_one_message(path: Path, at: int) -> None:
    encrypt_key(path, saying(SECRET))
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError):
        load_key(path, saying(SECRET))


def test_a_plain_key_asks_nobody(path: Path) -> None:
    load_or_make_key(path)
    load_key(path, refuse)


def test_an_encrypted_key_that_others_can_read_is_refused(path: Path) -> None:
    encrypt_key(path, saying(SECRET))
    path.chmod(0o640)
    with pytest.raises(InputError, match="mode 0640, expected 0600"):
        load_key(path, saying(SECRET))


def test_a_descriptor_gives_one_passphrase_a_line() -> None:
    reading, writing = os.pipe()
    os.write(writing, SECRET + b"\n" + OTHER)
    os.close(writing)
    source = from_descriptor(reading)
    assert (source("the key"), source("the key")) == (SECRET, OTHER)
    with pytest.raises(InputError, match="is empty"):
        source("the key")
    os.close(reading)
    with pytest.raises(InputError, match="Bad file descriptor"):
        source("the key")


def test_a_descriptor_of_something_else_ends_early() -> None:
    with Path("/dev/zero").open("rb") as file, pytest.raises(InputError, match="more than 1024 bytes"):
        from_descriptor(file.fileno())("the key")


def test_a_command_gives_its_first_line_and_sees_no_shell(tmp_path: Path) -> None:
    (tmp_path / "se cret").write_bytes(SECRET + b"\nnoise\n")
    assert from_command(f"cat '{tmp_path}/se cret'")("the key") == SECRET
    assert from_command("echo $HOME;id")("the key") == b"$HOME;id"


@pytest.mark.parametrize(
    ("command", "kind", "message"),
    [
        ("false", InputError, "exit code 1"),
        ("true", InputError, "is empty"),
        ("no-such-program", NotFoundError, "cannot run"),
        ("", InputError, "not a command: it is empty"),
        ("'", InputError, "not a command"),
        ("head -c 5000 /dev/zero", InputError, "more than 1024 bytes"),
    ],
)
def test_a_command_that_gives_nothing_useful_is_named(command: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        from_command(command)("the key")


def run(*arguments: str | Path, home: Path, **more: object) -> subprocess.CompletedProcess[str]:
    """`reprise key` without a terminal."""
    environment = {**os.environ, "REPRISE_HOME": str(home)}
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*REPRISE, *map(str, arguments)],
        env=environment,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        **more,
    )


def test_the_command_encrypts_and_changes_by_descriptors(tmp_path: Path) -> None:
    plain = run(home=tmp_path)
    assert plain.returncode == 0 and "has no passphrase" in plain.stderr
    reading, writing = os.pipe()
    os.write(writing, b"one\none\ntwo\n")
    os.close(writing)
    number = str(reading)
    encrypted = run("--encrypt", "--new-passphrase-fd", number, "--json", home=tmp_path, pass_fds=[reading])
    assert json.loads(encrypted.stdout)["encrypted"] is True and not encrypted.stderr
    changed = run(
        *("--change-passphrase", "--passphrase-fd", number, "--new-passphrase-fd", number),
        home=tmp_path,
        pass_fds=[reading],
    )
    os.close(reading)
    assert changed.stdout == plain.stdout and changed.returncode == 0, changed.stderr
    again = run("--passphrase-command", "echo two", home=tmp_path)
    assert again.stdout == plain.stdout and not again.stderr


def test_a_wrong_passphrase_is_one_message_and_an_exit_code(tmp_path: Path) -> None:
    encrypt_key(tmp_path / "signing-key.pem", saying(SECRET))
    wrong = run("--passphrase-command", "echo wrong", home=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (65, "")
    (line,) = wrong.stderr.splitlines()
    assert line.startswith("error: the passphrase does not open")
    nobody = run(home=tmp_path)
    assert nobody.returncode == 65 and "no terminal" in nobody.stderr and " --passphrase-fd" in nobody.stderr
    new = run("--key", str(tmp_path / "new.pem"), "--encrypt", home=tmp_path)
    assert new.returncode == 65 and "no terminal" in new.stderr and " --new-passphrase-fd" in new.stderr
    both = run("--passphrase-fd", "0", "--passphrase-command", "true", home=tmp_path)
    assert both.returncode == 2 and "not from both" in both.stderr


def at_a_terminal(*arguments: str, typed: list[str], home: Path) -> tuple[int, str]:
    """`reprise key` at a terminal of its own, where each prompt gets the next of `typed`; what stood on the screen."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(sys.executable, [*REPRISE, *arguments], {**os.environ, "REPRISE_HOME": str(home)})
    screen = b""
    waiting = list(typed)
    with contextlib.suppress(OSError):  # EIO: the child is gone
        while data := os.read(terminal, 4096):
            screen += data
            if waiting and screen.endswith(b": "):
                os.write(terminal, waiting.pop(0).encode() + b"\n")
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), screen.decode()


def test_a_terminal_is_asked_without_echo(tmp_path: Path) -> None:
    code, screen = at_a_terminal("--encrypt", typed=["hunter2", "hunter2"], home=tmp_path)
    assert code == 0 and "BEGIN PUBLIC KEY" in screen and "hunter2" not in screen
    code, screen = at_a_terminal(typed=["hunter2"], home=tmp_path)
    assert code == 0 and "Passphrase of the signing key" in screen and "hunter2" not in screen
    code, screen = at_a_terminal(typed=["\x04"], home=tmp_path)  # Ctrl-D
    assert code == 65 and "is empty" in screen and "Traceback" not in screen
    code, screen = at_a_terminal("--change-passphrase", typed=["hunter2", "new", "nwe"], home=tmp_path)
    assert code == 65 and "the two new passphrases differ" in screen and "nwe" not in screen
    load_key(tmp_path / "signing-key.pem", saying(b"hunter2"))
