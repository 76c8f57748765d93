"""An image made again with something changed in its layers' tars: what a builder with a defect would have made."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace

import zstandard

from reprise.build import LOCK_TYPE, SOURCE_TYPE
from reprise.store import Store
from reprise.stored_image import read_inventory
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.identity.file_list import LISTS_FOLDER, ListedFile, encode_list
from reprise_trainer.identity.inventory import Inventory, LayerRecord, image_bytes

Member = tuple[tarfile.TarInfo, bytes]
Edit = Callable[[list[Member]], list[Member]]


def remake(store: Store, digest: str, layer: str, edit: Edit, *, level: int = 1, relist: bool = True) -> str:
    """Put a copy of an image into its store in which the members of one layer's tar went through `edit`.

    Args:
        store, digest: the image.
        layer: the name of the layer; its file list follows the edit, unless `relist` is false.
        edit: gets headers and bytes in the tar's order.
        level: of the compressor.

    Returns:
        The copy's digest; lock and source are kept beside it as they are beside the image.
    """
    inventory = read_inventory(store, digest)
    layers = tuple(
        _remade(store, record, edit, level, relist) if record.name == layer else record for record in inventory.layers
    )
    assert layers != inventory.layers, "nothing was changed"
    return keep(store, replace(inventory, layers=layers), beside=digest)


def keep(store: Store, inventory: Inventory, *, beside: str = "") -> str:
    """Put the image that follows from an inventory into a store, with what is kept beside another one."""
    image = image_bytes(inventory)
    store.add(image.inventory_layer)
    store.add(image.config)
    digest = store.put_manifest(image.manifest)
    for artifact_type in (LOCK_TYPE, SOURCE_TYPE):
        for referrer in store.referrers(beside, artifact_type) if beside else ():
            files = [(name, "application/octet-stream", data) for name, data in store.files(referrer["digest"]).items()]
            store.attach(digest, artifact_type, files)
    return digest


def _remade(store: Store, record: LayerRecord, edit: Edit, level: int, relist: bool) -> LayerRecord:
    members = edit(_members(zstandard.ZstdDecompressor().decompressobj().decompress(store.read(record.digest))))
    file_list = store.read(record.list_digest)
    if relist:
        file_list = encode_list(record.name, [_listed(each) for each in members if not _is_list(each)])
        members = [(info, file_list) if _is_list((info, data)) else (info, data) for info, data in members]
    tar = _tar(members)
    blob = zstandard.ZstdCompressor(level=level).compress(tar)
    return replace(
        record,
        digest=store.add(blob),
        size=len(blob),
        diff_id=sha256_digest(tar),
        list_digest=store.add(file_list),
    )


def _members(tar: bytes) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        found = []
        for info in archive:
            content = archive.extractfile(info) if info.isreg() else None
            found.append((info, content.read() if content else b""))
        return found


def _tar(members: list[Member]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _is_list(member: Member) -> bool:
    return member[0].name.startswith(f"{LISTS_FOLDER}/")


def _listed(member: Member) -> ListedFile:
    info, data = member
    if info.issym():
        return ListedFile(info.name, "symlink", 0o777, target=info.linkname)
    if info.isdir():
        return ListedFile(info.name, "directory", info.mode)
    return ListedFile(info.name, "file", info.mode, len(data), sha256_digest(data).removeprefix("sha256:"))
