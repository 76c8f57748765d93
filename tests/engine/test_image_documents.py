"""What an image's manifest and config say is read without trust, before anything of it becomes a path or a process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reprise.engine.interface import ImageRef
from reprise.engine.unpack import unpack_layers, unpacked_folder
from reprise.store import Store
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import InputError

LAYER = bytes(1024)
DIGEST = sha256_digest(LAYER)
DESCRIPTOR = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": DIGEST, "size": len(LAYER)}
ROOTFS = {"type": "layers", "diff_ids": [DIGEST]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


def image(store: Store, config: Any, layers: Any = (DESCRIPTOR,)) -> ImageRef:
    store.add(LAYER)
    data = config if isinstance(config, bytes) else canonical_json(config)
    part = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": store.add(data), "size": len(data)}
    return ImageRef(store, store.put_manifest(canonical_json({"schemaVersion": 2, "config": part, "layers": layers})))


@pytest.mark.parametrize("form", ["{host}", "sha256:{host}", "sha256:../../../host", "../../../host"])
def test_no_folder_of_the_host_is_a_layer(store: Store, tmp_path: Path, form: str) -> None:
    host = tmp_path / "host"
    host.mkdir()
    config = {"rootfs": {"type": "layers", "diff_ids": [form.format(host=host)]}}
    unpacked_folder(store).mkdir()
    with pytest.raises(InputError, match=r"a diff_id of image sha256:\w+ is '.*host'; expected sha256:"):
        unpack_layers(store, image(store, config).layers())


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ([], r"the config of image sha256:\w+ is '\[\]'; expected a JSON object"),
        (b"{", "is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        ({"rootfs": []}, "`rootfs` in the config"),
        ({"config": [], "rootfs": ROOTFS}, "`config` in the config"),
        ({"rootfs": {"diff_ids": {DIGEST: 1}}}, "`diff_ids`.* expected a list"),
        ({"rootfs": {"diff_ids": [7]}}, "a diff_id of"),
        ({"rootfs": {"diff_ids": [DIGEST.upper()]}}, "a diff_id of"),
        ({"rootfs": {}}, "has 1 layers but 0 diff_ids"),
    ],
)
def test_a_config_of_another_form_is_refused(store: Store, config: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        image(store, config).layers()


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ({}, "`layers` of image"),
        (["x"], "a layer of image"),
        ([{**DESCRIPTOR, "digest": "sha256:/etc"}], "a layer of image.*'sha256:/etc'"),
        ([{**DESCRIPTOR, "size": "9"}], "without a media type or without its size"),
        ([{**DESCRIPTOR, "mediaType": 7}], "without a media type or without its size"),
    ],
)
def test_layers_of_another_form_are_refused(store: Store, layers: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        image(store, {"rootfs": ROOTFS}, layers).layers()


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"User": "nobody"}, "runs as the user 'nobody'; expected a number"),
        ({"User": ["0"]}, "runs as the user"),
        ({"Entrypoint": "/bin/sh"}, "`Entrypoint`.* expected a list"),
        ({"Cmd": [7]}, "`Cmd`.* expected texts"),
        ({"Env": ["A=\0"]}, "`Env`.* without a null byte"),
        ({"WorkingDir": 7}, "the working folder '7'"),
    ],
)
def test_a_process_of_another_form_is_refused(store: Store, config: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        image(store, {"config": config, "rootfs": ROOTFS}).process()


def test_what_a_config_leaves_out_has_its_default(store: Store) -> None:
    process = image(store, {"config": {"Entrypoint": None, "Cmd": ["/x"], "User": "7"}, "rootfs": ROOTFS}).process()
    assert (process.arguments, process.environment, process.user, process.folder) == (("/x",), (), (7, 7), "/")
