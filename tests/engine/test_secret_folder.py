"""Secrets come from files, into a private folder that is gone after the run; no message ever shows one."""

from __future__ import annotations

import os
import stat
import traceback
from pathlib import Path

import pytest

from reprise.engine.secret_folder import Secret, read_secrets, secret_folder
from reprise_trainer import redaction
from reprise_trainer.errors import InputError, NotFoundError, RepriseError, StorageError, UsageError
from reprise_trainer.redaction import redact


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test hides is hidden for no other one."""
    monkeypatch.setattr(redaction, "_hidden", {})


def test_each_file_is_read_under_its_name_and_hidden_from_then_on(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter22-secret\n")
    (tmp_path / "a=b").write_bytes(b"\xff" * (64 << 10))
    (tmp_path / "link").symlink_to("token")
    texts = [f"hub.token={tmp_path}/token", f"KEY_1-b={tmp_path}/a=b", f"l={tmp_path}/link"]
    secrets = read_secrets(texts)
    assert [(each.name, each.content[:7]) for each in secrets] == [
        ("hub.token", b"hunter2"),
        ("KEY_1-b", b"\xff" * 7),
        ("l", b"hunter2"),
    ]
    assert "hunter22" not in repr(secrets) and "hunter22" not in redact("as hunter22-secret said", {})


@pytest.mark.parametrize(
    "text",
    [
        "hunter22-secret",
        "=hunter22-secret",
        "a=",
        "../a=hunter22-secret",
        "-a=hunter22-secret",
        ".a=hunter22-secret",
        "a/b=hunter22-secret",
        "a b=hunter22-secret",
        "ä=hunter22-secret",
        f"{'a' * 65}=hunter22-secret",
        "a\n=hunter22-secret",
    ],
)
def test_what_is_not_a_name_and_a_file_is_refused_without_showing_it(text: str) -> None:
    refused(text, UsageError)


def refused(text: str, kind: type[RepriseError]) -> str:
    with pytest.raises(kind) as caught:
        read_secrets([text])
    assert "hunter22" not in "".join(traceback.format_exception(caught.value, limit=0))
    return caught.value.message


def test_a_file_that_can_not_be_a_secrets_is_refused_by_the_secrets_name(tmp_path: Path) -> None:
    assert refused("token=hunter22-secret", NotFoundError) == (
        "cannot read the file of the secret token: No such file or directory"
    )
    assert "token: no path" in refused("token=hunter22-\0", NotFoundError)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        assert refused(f"token={path}", InputError) == "the file of the secret token is not a regular file"
    (tmp_path / "large").write_bytes(b"x" * ((64 << 10) + 1))
    assert refused(f"token={tmp_path}/large", InputError).endswith("has more than 65,536 bytes")


def test_two_secrets_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(UsageError, match="two secrets are called a"):
        read_secrets([f"a={tmp_path}/a"] * 2)


SECRETS = (Secret("token", b"hunter22-secret"), Secret("key", b"\0\xff"))


def test_only_its_owner_may_look_into_the_folder_and_it_is_gone_afterwards(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), secret_folder(SECRETS, parent=tmp_path) as folder:
        assert folder and stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o400}
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            "token": b"hunter22-secret",
            "key": b"\0\xff",
        }
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_without_secrets_there_is_no_folder(tmp_path: Path) -> None:
    with secret_folder((), parent=tmp_path) as folder:
        assert folder is None and list(tmp_path.iterdir()) == []


def test_no_room_for_them_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not-there"), secret_folder(SECRETS, parent=tmp_path / "not-there"):
        pass
