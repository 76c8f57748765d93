"""The launch folder is private, whole, and gone when the run is over."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from reprise.engine.launch import LaunchContents, launch_folder
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, StorageError
from reprise_trainer.identity.launch import Launch, decode_launch, encode_launch

LAUNCH = Launch(sha256_digest(b"image"), sha256_digest(b"snapshot"), "run-1", "docker", events="json")
CONTENTS = LaunchContents(LAUNCH, b"config", b"bundle", b"delegation", b"key", b"policy")


def test_the_folder_holds_what_was_given_and_only_its_owner_may_look(tmp_path: Path) -> None:
    with launch_folder(CONTENTS, parent=tmp_path) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "run-key.pem").stat().st_mode) == 0o400
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            "launch.json": encode_launch(LAUNCH),
            "run.toml": b"config",
            "image.sigstore.json": b"bundle",
            "delegation.sigstore.json": b"delegation",
            "run-key.pem": b"key",
            "policy.toml": b"policy",
        }


def test_it_is_gone_afterwards_even_when_the_run_failed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), launch_folder(CONTENTS, parent=tmp_path):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="not-there"), launch_folder(CONTENTS, parent=tmp_path / "not-there"):
        pass


def test_launch_json_reads_back_as_it_was() -> None:
    for launch in (LAUNCH, replace(LAUNCH, workers=4)):
        assert decode_launch(encode_launch(launch)) == launch


def test_launch_json_of_one_worker_is_what_older_images_read() -> None:
    assert b"workers" not in encode_launch(LAUNCH)


@pytest.mark.parametrize("workers", [b"0", b"true", b'"4"', b"4.0"])
def test_workers_are_a_number_from_one(workers: bytes) -> None:
    with pytest.raises(InputError, match="workers"):
        decode_launch(encode_launch(replace(LAUNCH, workers=4)).replace(b":4}", b":" + workers + b"}"))


@pytest.mark.parametrize(
    "change",
    [
        (b'"format":1', b'"format":2'),
        (b'"docker"', b'"chroot"'),
        (b'"json"', b'"xml"'),
        (b"sha256:", b"md5:"),
        (b'"run-1"', b"1"),
        (b'"run":', b'"ran":'),
    ],
)
def test_a_launch_of_another_form_is_refused(change: tuple[bytes, bytes]) -> None:
    with pytest.raises(InputError):
        decode_launch(encode_launch(LAUNCH).replace(*change))
