"""Registry → runnable root by other tools: docker, and skopeo with what unpacks its layouts; all of it cold."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from reprise.engine.interface import ImageRef
from reprise.engine.layer_stream import open_layer
from reprise.store import Store
from reprise_trainer.canonical import canonical_json

GZIP_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
GZIP_LEVEL = 6
"""What `docker push` compresses with (Go's default)."""


def gzip_image(whole: Store, digest: str, store: Store) -> str:
    """The same image with gzip layers, in `store`: its digest.

    Docker before 23 and umoci 0.4 can't read zstd. The tars in it are the same, bit for bit.
    """
    manifest = whole.manifest(digest)
    layers = [_gzip_layer(whole, layer, store) for layer in ImageRef(whole, digest).layers()]
    store.add(whole.read(manifest["config"]["digest"]))
    return store.put_manifest(canonical_json({**manifest, "layers": layers}), tag="gzip")


def _gzip_layer(whole: Store, layer: Any, store: Store) -> dict[str, Any]:
    place = store.root / "partial" / "layer.gz"
    with open_layer(whole, layer) as tar, place.open("wb") as file:
        with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as packed:
            while piece := tar.read():
                packed.write(piece)
        size = file.tell()
    with place.open("rb") as file:
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    store.add_file(place, digest)
    return {"mediaType": GZIP_TYPE, "digest": digest, "size": size}


def docker_pull(address: str, reference: str) -> float:
    """Seconds that a docker daemon takes for an image."""
    return seconds(["docker", "pull", "--quiet", reference], DOCKER_HOST=address)


def skopeo_and_umoci(reference: str, folder: Path) -> float:
    """Seconds of `skopeo copy` to an OCI layout and `umoci raw unpack`, the unpacker of the OCI project."""
    layout = folder / "layout"
    return copy(reference, layout) + seconds(["umoci", "raw", "unpack", "--image", f"{layout}:x", f"{folder}/root"])


def skopeo_and_tar(reference: str, folder: Path) -> float:
    """Seconds of `skopeo copy` and of GNU tar on each layer, which compares no digest and refuses no path."""
    layout, root = folder / "layout", folder / "root"
    root.mkdir(parents=True)
    taken = copy(reference, layout)
    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads(_blob(layout, index["manifests"][0]["digest"]).read_bytes())
    for layer in manifest["layers"]:
        kind = "--zstd" if layer["mediaType"].endswith("zstd") else "--gzip"
        taken += seconds(["tar", "-x", kind, "-f", str(_blob(layout, layer["digest"])), "-C", str(root)])
    return taken


def copy(reference: str, layout: Path) -> float:
    layout.parent.mkdir(parents=True, exist_ok=True)
    source = f"docker://{reference}"
    return seconds(["skopeo", "copy", "--quiet", "--src-tls-verify=false", source, f"oci:{layout}:x"])


def seconds(command: list[str], *, output: list[str] | None = None, **variables: str) -> float:
    """How long a command takes; it has to end well. What it printed is added to `output`."""
    started = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:4])} … ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    taken = time.perf_counter() - started
    if output is not None:
        output.append(done.stdout)
    return taken


def processor_seconds() -> float:
    """Of all commands and servers that have ended so far."""
    times = os.times()
    return times.children_user + times.children_system


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")
