"""The inventory: the image's last layer, from which its config and manifest follow byte for byte.

A container cannot read its own manifest. But every layer carries a list of its files, and the inventory holds the
layers' descriptors, the digests of those lists, and the image's config without the diff_id of the inventory's own
layer. So whoever has the files of an image can compute its manifest digest: lists → inventory → inventory layer →
config → manifest. This module is that function; the builder and the trainer both call it, so they cannot disagree.

Standard library alone: it is part of the code that makes bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import InputError
from reprise_trainer.identity.file_list import REPRISE_FOLDER

FORMAT = 1
INVENTORY_PATH = f"{REPRISE_FOLDER}/inventory.json"

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
PLAIN_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"

LAYER_MTIME = 315_532_800
"""Every file's time, seconds: 1980-01-01T00:00:00Z, the earliest that zip files can say, so that none is older."""


@dataclass(frozen=True, slots=True)
class LayerRecord:
    """One lower layer: its descriptor (`media_type`, `digest`, `size` in bytes), the digest of its uncompressed tar
    (`diff_id`) and of its file list (`list_digest`)."""

    name: str
    media_type: str
    digest: str
    size: int
    diff_id: str
    list_digest: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """What an image's manifest is a function of: its layers, lowest first, and its config.

    `config` is an OCI image config (architecture, os, created, config) without `rootfs`.
    """

    layers: tuple[LayerRecord, ...]
    config: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """The three documents that follow from an inventory, and the image's name: the digest of its manifest."""

    inventory_layer: bytes
    config: bytes
    manifest: bytes

    @property
    def digest(self) -> str:
        return sha256_digest(self.manifest)


def encode_inventory(inventory: Inventory) -> bytes:
    """Canonical bytes of an inventory."""
    layers = [
        {
            "name": layer.name,
            "mediaType": layer.media_type,
            "digest": layer.digest,
            "size": layer.size,
            "diffId": layer.diff_id,
            "listDigest": layer.list_digest,
        }
        for layer in inventory.layers
    ]
    return canonical_json({"format": FORMAT, "layers": layers, "config": inventory.config})


def decode_inventory(data: bytes) -> Inventory:
    """The inventory in canonical bytes.

    Raises:
        InputError: the bytes are not an inventory of this format, or not its canonical bytes.
    """
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise InputError(f"inventory has format {document['format']!r}, this version reads format {FORMAT}")
        inventory = Inventory(
            layers=tuple(
                LayerRecord(
                    name=layer["name"],
                    media_type=layer["mediaType"],
                    digest=layer["digest"],
                    size=layer["size"],
                    diff_id=layer["diffId"],
                    list_digest=layer["listDigest"],
                )
                for layer in document["layers"]
            ),
            config=document["config"],
        )
        canonical = encode_inventory(inventory)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not an image inventory: {error}") from error
    if canonical != data:
        raise InputError("the inventory is not in its canonical form")
    return inventory


def image_bytes(inventory: Inventory) -> ImageBytes:
    """Inventory layer, config and manifest of the image that `inventory` describes (OCI image spec v1.1)."""
    layer = inventory_layer(encode_inventory(inventory))
    diff_id = sha256_digest(layer)  # stored uncompressed: digest and diff_id are the same
    config = canonical_json(
        {
            **inventory.config,
            "rootfs": {"type": "layers", "diff_ids": [*(each.diff_id for each in inventory.layers), diff_id]},
        }
    )
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": sha256_digest(config), "size": len(config)},
            "layers": [
                *(
                    {"mediaType": each.media_type, "digest": each.digest, "size": each.size}
                    for each in inventory.layers
                ),
                {"mediaType": PLAIN_LAYER_TYPE, "digest": diff_id, "size": len(layer)},
            ],
        }
    )
    return ImageBytes(layer, config, manifest)


def inventory_layer(inventory: bytes) -> bytes:
    """The canonical tar of the layer that holds `inventory` and nothing else but its parent folders."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        parts = INVENTORY_PATH.split("/")
        for depth in range(1, len(parts)):
            folder = tarfile.TarInfo("/".join(parts[:depth]))
            folder.type, folder.mode, folder.mtime = tarfile.DIRTYPE, 0o755, LAYER_MTIME
            tar.addfile(folder)
        file = tarfile.TarInfo(INVENTORY_PATH)
        file.size, file.mode, file.mtime = len(inventory), 0o644, LAYER_MTIME
        tar.addfile(file, io.BytesIO(inventory))
    return buffer.getvalue()
