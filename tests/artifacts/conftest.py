"""A machine whose pip and apt know no place, servers on the loopback interface, and artifacts to fetch."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.loopback import Site, serve

from reprise.lock.model import Artifact
from reprise.store import Store


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pip nor apt is configured; each test adds what it needs."""
    for name in [each for each in os.environ if each.startswith("PIP_") or each.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    empty = tmp_path / "no-apt"
    empty.mkdir()
    (empty / "apt.conf").write_text(f'Dir "{empty}";\n')
    monkeypatch.setenv("APT_CONFIG", str(empty / "apt.conf"))


@pytest.fixture
def site() -> Iterator[Site]:
    with serve(Site()) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def closed_port() -> str:
    """An address on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def wheel(data: bytes, name: str = "thing", version: str = "1.0") -> Artifact:
    file_name = f"{name.replace('-', '_')}-{version.replace('+', '%2B')}-py3-none-any.whl"
    purl = f"pkg:pypi/{name}@{version.replace('+', '%2B')}?file_name={file_name}"
    return Artifact(purl, hashlib.sha256(data).hexdigest())


def deb(data: bytes, name: str = "libthing", size: int | None = None) -> Artifact:
    return Artifact(
        f"pkg:deb/debian/{name}@1.0-1?arch=amd64&distro=bookworm",
        hashlib.sha256(data).hexdigest(),
        location=f"pool/main/l/{name}/{name}_1.0-1_amd64.deb",
        size=len(data) if size is None else size,
    )


def leftovers(store: Store) -> list[str]:
    """What is in the store's folder of partial downloads."""
    return sorted(path.name for path in (store.root / "partial").iterdir())
