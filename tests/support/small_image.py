"""A small real image, made from the running Python: three zstd layers and an inventory, in a store.

It is put together here by hand, from the formats alone, so that identity and engines are tested without the builder.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cffi
import cryptography
import zstandard

import reprise_trainer
from reprise.store import Store
from reprise.store.platforms import INDEX_TYPES
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.identity.file_list import LISTS_FOLDER, ListedFile, encode_list, list_path
from reprise_trainer.identity.inventory import LAYER_MTIME, Inventory, LayerRecord, image_bytes

ZSTD_LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
STDLIB = f"usr/lib/{PYTHON}"
ENVIRONMENT = ("PATH=/usr/local/bin:/usr/bin", "LANG=C.UTF-8", "PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1")

PROBE = """
import os, sys
from pathlib import Path
if __name__ == "__main__":
    path = Path("/run/reprise/run.toml")
    exec(compile(path.read_text(), str(path), "exec"))
"""
"""What the image runs: the program that the launch folder holds in place of a configuration."""


@dataclass(frozen=True)
class Entry:
    """One path of a layer: a file's bytes, a link's target, or neither for a folder."""

    data: bytes | None = None
    target: str = ""
    mode: int = 0o644


@dataclass(frozen=True)
class SmallImage:
    store: Store
    digest: str
    inventory: Inventory
    diff_ids: tuple[str, ...] = field(default=())

    def unpack(self, root: Path) -> Path:
        """The image's root as a plain folder, for tests that change it."""
        root.mkdir()
        blobs = [self.store.read(layer.digest) for layer in self.inventory.layers]
        tars = [zstandard.ZstdDecompressor().decompress(blob, max_output_size=2**28) for blob in blobs]
        for tar in [*tars, image_bytes(self.inventory).inventory_layer]:
            with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
                archive.extractall(root, filter="fully_trusted")
        return root


def base_entries() -> dict[str, Entry]:
    """What docker and podman would add to any root: folders to mount on, and files that they write."""
    plain = [
        "dev",
        "etc",
        "home",
        "proc",
        "run",
        "run/reprise",
        "sys",
        "var",
        "data",
        "output",
        "usr",
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
    ]
    folders = {path: Entry(mode=0o755) for path in plain}
    links = {path: Entry(target=f"usr/{path}") for path in ("bin", "sbin", "lib", "lib64")}
    empty = {path: Entry(b"") for path in ("etc/hosts", "etc/hostname", "etc/resolv.conf", "run/.containerenv")}
    return {
        **folders,
        **links,
        **empty,
        "root": Entry(mode=0o700),
        "tmp": Entry(mode=0o1777),
        "var/tmp": Entry(mode=0o1777),
        ".dockerenv": Entry(b"", mode=0o755),
        "etc/mtab": Entry(target="/proc/mounts"),
        "etc/passwd": Entry(b"root:x:0:0:root:/root:/usr/sbin/nologin\n"),
        "etc/group": Entry(b"root:x:0:\n"),
    }


def python_entries() -> dict[str, Entry]:
    """The running Python: interpreter, standard library, `cryptography`, and the shared libraries of all of them."""
    executable = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    entries = {f"usr/bin/{PYTHON}": Entry(executable.read_bytes(), mode=0o755)}
    skipped = re.compile(
        r"(test|idlelib|tkinter|turtledemo|ensurepip|lib2to3|pydoc_data|distutils|unittest|site-packages|dist-packages"
        r"|config-.*|__pycache__)\Z"
    )
    trees = [(Path(sysconfig.get_path("stdlib")), STDLIB)]
    trees += [(Path(module.__file__).parent, f"{STDLIB}/{module.__name__}") for module in (cryptography, cffi)]
    for source, place in trees:
        for folder, names, files in os.walk(source):
            names[:] = [name for name in names if not skipped.match(name)]
            for name in files:
                path = Path(folder, name)
                entries[f"{place}/{path.relative_to(source)}"] = Entry(
                    path.read_bytes(), mode=path.stat().st_mode & 0o755
                )
    backend = next(Path(cffi.__file__).parent.parent.glob("_cffi_backend*.so"))
    entries[f"{STDLIB}/{backend.name}"] = Entry(backend.read_bytes(), mode=0o755)
    binaries = [executable, backend, *(Path(cryptography.__file__).parent.rglob("*.so"))]
    binaries += Path(sysconfig.get_path("stdlib"), "lib-dynload").glob("*.so")
    return {**entries, **_shared_libraries(binaries)}


def _shared_libraries(binaries: Sequence[Path]) -> dict[str, Entry]:
    """The closure that ldd finds, each where the loader looks without a cache: beside the C library."""
    output = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
    found = {Path(path) for path in re.findall(r"(/\S+) \(0x", output)}
    libc = next(path for path in found if path.name == "libc.so.6")
    entries = {}
    for path in found:
        folder = path.parent if path.name.startswith("ld-linux") else libc.parent
        place = str(folder / path.name).lstrip("/")
        place = place if place.startswith("usr/") else f"usr/{place}"
        entries[place] = Entry(path.read_bytes(), mode=0o755)
    return entries


def trainer_entries() -> dict[str, Entry]:
    """`reprise_trainer` as it is in this tree, and the probe that the image runs."""
    source = Path(reprise_trainer.__file__).parent
    files = {
        f"{STDLIB}/reprise_trainer/{path.relative_to(source)}": Entry(path.read_bytes())
        for path in source.rglob("*.py")
    }
    return {**files, f"{STDLIB}/reprise_probe.py": Entry(PROBE.encode())}


def tiny_entries() -> dict[str, Entry]:
    """A few files that look like an image's, for tests that only measure."""
    return {
        f"{STDLIB}/json.py": Entry(b"def loads(text): ...\n"),
        f"{STDLIB}/site-packages/torch/lib/libtorch.so": Entry(bytes(range(256)) * 4096, mode=0o755),
        f"{STDLIB}/site-packages/torch/__init__.py": Entry(b"import json\n"),
        f"usr/bin/{PYTHON}": Entry(b"\x7fELF", mode=0o755),
        "usr/bin/python3": Entry(target=PYTHON),
    }


def make_image(
    store: Store,
    layers: Mapping[str, Mapping[str, Entry]],
    *,
    config: Mapping[str, Any] | None = None,
    tag: str = "small",
) -> SmallImage:
    """Put the image with these layers (lowest first) into the store."""
    records = tuple(_add_layer(store, name, entries) for name, entries in layers.items())
    entrypoint = [f"/usr/bin/{PYTHON}", "-I", "-m", "reprise_probe"]
    process = {"User": "0:0", "WorkingDir": "/", "Env": list(ENVIRONMENT), "Entrypoint": entrypoint, **(config or {})}
    document = {"architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z", "config": process}
    inventory = Inventory(records, document)
    image = image_bytes(inventory)
    store.add(image.inventory_layer)
    store.add(image.config)
    store.put_manifest(image.manifest, tag=tag)
    return SmallImage(store, image.digest, inventory, tuple(record.diff_id for record in records))


def _add_layer(store: Store, name: str, entries: Mapping[str, Entry]) -> LayerRecord:
    entries = {**_parents([*entries, f"{LISTS_FOLDER}/list"]), **entries}
    file_list = encode_list(name, [_listed(path, entry) for path, entry in entries.items()])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, entry in sorted({**entries, list_path(name): Entry(file_list)}.items()):
            _add_to_tar(tar, path, entry)
    blob = zstandard.ZstdCompressor(level=1).compress(buffer.getvalue())
    return LayerRecord(
        name, ZSTD_LAYER, store.add(blob), len(blob), sha256_digest(buffer.getvalue()), store.add(file_list)
    )


def _parents(paths: Sequence[str]) -> dict[str, Entry]:
    return {str(parent): Entry(mode=0o755) for path in paths for parent in list(Path(path).parents)[:-1]}


def _listed(path: str, entry: Entry) -> ListedFile:
    if entry.target:
        return ListedFile(path, "symlink", 0o777, target=entry.target)
    if entry.data is None:
        return ListedFile(path, "directory", entry.mode)
    digest = sha256_digest(entry.data).removeprefix("sha256:")
    return ListedFile(path, "file", entry.mode, size=len(entry.data), sha256=digest)


def _add_to_tar(tar: tarfile.TarFile, path: str, entry: Entry) -> None:
    info = tarfile.TarInfo(path)
    info.mtime = LAYER_MTIME
    if entry.target:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.target, 0o777
        tar.addfile(info)
    elif entry.data is None:
        info.type, info.mode = tarfile.DIRTYPE, entry.mode
        tar.addfile(info)
    else:
        info.size, info.mode = len(entry.data), entry.mode
        tar.addfile(info, io.BytesIO(entry.data))


def put_index(store: Store, platforms: dict[str, str], kind: str = INDEX_TYPES[0]) -> str:
    """An index of images by platform (`os/architecture[/variant]` → digest)."""
    entries = []
    for platform, digest in platforms.items():
        named = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
        size = len(store.read(digest))
        media_type = store.manifest(digest)["mediaType"]
        entries.append({"mediaType": media_type, "digest": digest, "size": size, "platform": named})
    return store.put_manifest(canonical_json({"schemaVersion": 2, "mediaType": kind, "manifests": entries}), kind)
