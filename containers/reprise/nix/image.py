"""The jobs of derivations that put an image together; `derivation.py` says what each is."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from reprise.build import build_image
from reprise.environments import ENVIRONMENT_FILE, LOCK_FILES
from reprise.lock.read import read_lock
from reprise.nix.layer import blob_path, link_layer, scratch_store
from reprise_trainer.errors import DoesNotHoldError


def make(job: dict[str, Any], out: Path) -> None:
    """Do a job of the kind `image`, `layout` or `digest-check`."""
    match job["make"]:
        case "image":
            _make_image(job, out)
        case "layout":
            _make_layout(job, out)
        case "digest-check":
            _check_digest(job, out)


def _make_image(job: dict[str, Any], out: Path) -> None:
    """Build the image in a store that has all of its layers already, so that only what follows from them is made.

    The artifacts of finished layers are not needed, and may not be here when the layers came from a cache: empty files
    stand for them. A build that wanted one of them would find it damaged.
    """
    folder, environment = Path(job["folder"]), Path(job["environment"])
    files = {name: (folder / name).read_bytes() for name in LOCK_FILES}
    files[ENVIRONMENT_FILE] = environment.read_bytes()
    lock = read_lock(folder, environment)
    with tempfile.TemporaryDirectory() as scratch:
        store = scratch_store(Path(scratch), job["artifacts"], job["python"])
        for layer in job["layers"]:
            link_layer(store, Path(layer))
        artifacts = [blob_path(store, artifact.digest) for artifact in lock.artifacts]
        for path in artifacts:
            if not path.exists():
                path.touch()
        build_image(lock, files, Path(job["source"]).read_bytes(), store)
        for path in artifacts:
            path.unlink()
        out.mkdir()
        for part in ("oci-layout", "index.json", "blobs"):
            shutil.move(store.root / part, out / part)


def _make_layout(job: dict[str, Any], out: Path) -> None:
    image, blobs = Path(job["image"]), Path("blobs", "sha256")
    (out / blobs).mkdir(parents=True)
    for part in (Path("oci-layout"), Path("index.json"), *(blobs / each.name for each in (image / blobs).iterdir())):
        (out / part).symlink_to((image / part).resolve())
    for sha256, path in job["artifacts"].items():
        (out / blobs / sha256).symlink_to(path)


def _check_digest(job: dict[str, Any], out: Path) -> None:
    found = [entry["digest"] for entry in json.loads(Path(job["image"], "index.json").read_bytes())["manifests"]]
    if job["expected"].strip() not in found:
        raise DoesNotHoldError(
            f"the lock gives another image than its environment.digest says: expected {job['expected'].strip()}, "
            f"built {found[0]}"
        )
    out.write_text(f"{job['expected'].strip()}\n")
