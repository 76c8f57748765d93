"""Locks and images of the tests' conda channel."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from conda_channel import ROOT, SITE_PACKAGES, Channel, ChannelPackage

import reprise_trainer
from reprise.artifacts.fetch import fetch
from reprise.image.source import source_archive
from reprise.lock.conda_address import conda_purl
from reprise.lock.environment import read_environment
from reprise.lock.model import Allowed, Artifact, Lock, LockedConda
from reprise.lock.plan import plan_layers
from reprise.lock.read import read_lock
from reprise.store import Store
from reprise_trainer.canonical import canonical_json, sha256_digest

PYTHON = ("python", "libexpat", "libzlib", "openssl", "libffi", "xz", "bzip2")
"""The channel's Python and all that it depends on."""

SYSTEM = ("base-files", "libc6", "libgcc-s1", "libstdc++6", "gcc-12-base")
"""Debian packages below a conda environment: what conda expects of a system."""

TRAINER_WHEELS = ("cryptography", "cffi", "pycparser")
"""What the trainer needs to verify an image."""

CHANNEL_URL = "https://conda.example.org/channel"
"""In the locks of tests that fetch nothing."""


def conda_lock(
    channel: Channel,
    names: Sequence[str | ChannelPackage],
    store: Store,
    *,
    url: str = CHANNEL_URL,
    prefix: str = "/opt/conda",
    allowed: Allowed | None = None,
    wheels: Sequence[str] = TRAINER_WHEELS,
) -> Lock:
    """A lock of these packages of `channel` on the Debian packages and wheels of `torch-cpu`; all are in `store`.

    Where python is not among the packages, the image's Python is Debian's.
    """
    packages = [channel.package(each) if isinstance(each, str) else each for each in names]
    with_python = any(each.name == "python" for each in packages)
    committed = read_lock(ROOT / "locks" / "torch-cpu")
    taken = [
        each
        for each in committed.artifacts
        if each.category == "build" or each.name in wheels or (each.kind == "deb" and _is_wanted(each, with_python))
    ]
    _fetch(taken, store)
    for each in packages:
        store.add(each.path.read_bytes())
    conda = [Artifact(conda_purl(each.url(url)), each.sha256, "main", each.url(url)) for each in packages]
    artifacts = tuple(sorted([*taken, *conda], key=lambda each: each.purl))
    sizes = {each.purl: store.path(each.digest).stat().st_size for each in artifacts}
    content = canonical_json([[each.purl, each.sha256] for each in artifacts])
    return Lock(
        environment="conda-test",
        platform=committed.platform,
        python=committed.python,
        created=committed.created,
        artifacts=artifacts,
        layers=plan_layers(artifacts, sizes),
        environment_sha256="0" * 64,
        digest=sha256_digest(content),
        conda=LockedConda(prefix, SITE_PACKAGES if with_python else "", allowed=allowed or Allowed()),
    )


def _is_wanted(deb: Artifact, with_python: bool) -> bool:
    return not with_python or deb.name in SYSTEM


def _fetch(artifacts: Sequence[Artifact], store: Store) -> None:
    """Into `store`, from the tests' shared one, which asks the network at most once."""
    shared = Store.open()
    fetch(artifacts, shared, read_environment(ROOT / "containers" / "images" / "torch-cpu.toml").sources)
    for artifact in artifacts:
        if not store.has(artifact.digest):
            store.add(shared.read(artifact.digest))


PROBE = """
import sys
from pathlib import Path

if __name__ == "__main__":
    path = Path("/run/reprise/run.toml")
    exec(compile(path.read_text(), str(path), "exec"))
    sys.exit(0)
"""
"""In place of the trainer's own start: runs the program that the launch folder holds."""


def probing_trainer(scratch: Path) -> bytes:
    """The trainer's source whose start is `PROBE`; everything that measures is as it is."""
    folder = scratch / "reprise_trainer"
    shutil.copytree(Path(reprise_trainer.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "__main__.py").write_text(PROBE)
    return source_archive(folder)
