"""The archive that docker loads is made as it is sent, once; a daemon that is not there is said."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from small_image import base_entries, make_image, tiny_entries

from reprise.engine.docker import DockerEngine, _create, image_archive, load_image
from reprise.engine.docker import device_requests as gpus_of
from reprise.engine.interface import ImageRef
from reprise.store import Store
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, SystemFailureError


@pytest.fixture
def image(tmp_path) -> ImageRef:
    store = Store.open(tmp_path / "store")
    return ImageRef(store, make_image(store, {"base": base_entries(), "torch": tiny_entries()}).digest)


def test_the_archive_holds_the_config_and_the_uncompressed_layers(image: ImageRef) -> None:
    data = b"".join(image_archive(image, "reprise:test"))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        contents = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    (manifest,) = json.loads(contents["manifest.json"])
    assert manifest["RepoTags"] == ["reprise:test"]
    assert contents[manifest["Config"]] == image.config_bytes()
    assert [sha256_digest(contents[name]) for name in manifest["Layers"]] == [layer.diff_id for layer in image.layers()]


def test_the_archive_comes_in_pieces_and_twice_the_same(image: ImageRef) -> None:
    pieces = list(image_archive(image, "reprise:test"))
    assert max(map(len, pieces)) <= 1 << 20
    assert b"".join(pieces) == b"".join(image_archive(image, "reprise:test"))


def test_an_image_that_is_there_is_not_sent_again(image: ImageRef, docker_host: str) -> None:
    client = docker.from_env()
    try:
        tag = load_image(client, image)
        for layer in image.layers():
            image.store.path(layer.digest).unlink()  # so that sending again would fail
        assert load_image(client, image) == tag
        assert client.images.get(tag).attrs["RootFS"]["Layers"] == [layer.diff_id for layer in image.layers()]
    finally:
        client.close()


def test_containers_are_gone_after_their_run(bench, docker_host: str) -> None:
    bench.run("docker", "sys.exit(1)")
    client = docker.from_env()
    try:
        assert client.containers.list(all=True) == []
    finally:
        client.close()


def test_a_daemon_that_is_not_there_is_said_with_what_to_do(bench, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(SystemFailureError) as caught:
        DockerEngine().run(bench.ref, bench.folders, on_line=print, on_error_line=print)
    assert caught.value.message.startswith("the engine `docker` failed: ")
    assert "--engine namespaces" in caught.value.hint


def test_a_folder_that_docker_can_not_mount_is_said(bench, docker_host: str) -> None:
    bench.folders.data.rmdir()
    with pytest.raises(SystemFailureError, match="bind source path does not exist"):
        DockerEngine().run(bench.ref, bench.folders, on_line=print, on_error_line=print)


@pytest.mark.parametrize(
    ("gpus", "count", "devices"),
    [("all", -1, None), ("2", 2, None), ("device=0,GPU-1b2c", 0, ["0", "GPU-1b2c"])],
)
def test_a_container_is_made_with_the_gpus_asked_for(
    bench, docker_host: str, gpus: str, count: int, devices: list[str] | None
) -> None:
    """As `docker run --gpus` asks; the daemon keeps it, and refuses at the start where the machine has no GPU."""
    client = docker.from_env()
    try:
        tag, process = load_image(client, bench.ref), bench.ref.process()
        container = _create(client, tag, process, bench.folders, gpus_of(gpus), network=False)
        (asked,) = container.attrs["HostConfig"]["DeviceRequests"]
        container.remove()
    finally:
        client.close()
    assert (asked["Count"], asked["DeviceIDs"] or None, asked["Capabilities"]) == (count, devices, [["gpu"]])


def test_a_container_has_a_read_only_root_and_no_privilege_or_network(bench, docker_host: str) -> None:
    client = docker.from_env()
    try:
        container = _create(
            client, load_image(client, bench.ref), bench.ref.process(), bench.folders, [], network=False
        )
        host = container.attrs["HostConfig"]
        container.remove()
    finally:
        client.close()
    assert host["ReadonlyRootfs"] and not host["Privileged"] and host["NetworkMode"] == "none"
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"] and host["SecurityOpt"] == ["no-new-privileges"]
    assert not host["DeviceRequests"] and not host["Devices"] and not host["Binds"]
    assert {each["Target"]: each.get("ReadOnly", False) for each in host["Mounts"]} == {
        "/run/reprise": True,
        "/data": True,
        "/output": False,
    }


def test_secrets_are_mounted_read_only_and_change_nothing_else(bench, docker_host: str, tmp_path: Path) -> None:
    client = docker.from_env()
    try:
        tag, process = load_image(client, bench.ref), bench.ref.process()
        folders = replace(bench.folders, secrets=tmp_path)
        made = [_create(client, tag, process, each, [], network=False) for each in (bench.folders, folders)]
        without, host = (each.attrs["HostConfig"] for each in made)
        environments = [each.attrs["Config"]["Env"] for each in made]
        for each in made:
            each.remove()
    finally:
        client.close()
    (more,) = [each for each in host["Mounts"] if each not in without["Mounts"]]
    assert (more["Source"], more["Target"], more["ReadOnly"]) == (str(tmp_path), "/run/secrets", True)
    assert host == {**without, "Mounts": host["Mounts"]} and environments[0] == environments[1]


def test_a_container_with_a_network_is_on_the_daemons_own_and_has_no_more_privilege(bench, docker_host: str) -> None:
    client = docker.from_env()
    try:
        tag, process = load_image(client, bench.ref), bench.ref.process()
        asked = [_create(client, tag, process, bench.folders, [], network=each) for each in (False, True)]
        without, host = (each.attrs["HostConfig"] for each in asked)
        for each in asked:
            each.remove()
    finally:
        client.close()
    assert host == {**without, "NetworkMode": host["NetworkMode"]}
    assert (without["NetworkMode"], host["NetworkMode"]) == ("none", "default")


@pytest.mark.parametrize("gpus", ["some", "0", "-1", "device=", "device=0;rm", "all,all"])
def test_gpus_that_can_not_be_meant_are_refused(gpus: str) -> None:
    with pytest.raises(InputError, match="does not name GPUs"):
        DockerEngine(gpus)
