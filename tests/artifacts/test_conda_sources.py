"""Where conda packages come from: folders first, then the channel that the lock names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.artifacts.conftest import leftovers
from tests.support.loopback import Site

from reprise.artifacts.fetch import fetch
from reprise.lock.conda_address import conda_purl
from reprise.lock.model import Artifact, Sources
from reprise.store import Store
from reprise_trainer.errors import InputError, UnavailableError

DATA = bytes(range(256)) * 2000
PATH = "/channel/linux-64/thing-1.0-0.conda"


def conda(address: str, data: bytes = DATA) -> Artifact:
    url = f"{address}{PATH}"
    return Artifact(conda_purl(url), hashlib.sha256(data).hexdigest(), "main", url)


def test_the_channel_that_the_lock_names_is_asked(site: Site, store: Store) -> None:
    site.files[PATH] = DATA
    artifact = conda(site.address)
    report = fetch([artifact], store, Sources())
    assert store.read(artifact.digest) == DATA
    assert report.fetched[0].url == site.url(PATH)


def test_a_folder_has_it_by_its_name_and_then_the_channel_is_not_asked(
    site: Site, store: Store, tmp_path: Path
) -> None:
    site.files[PATH] = DATA
    (tmp_path / "thing-1.0-0.conda").write_bytes(DATA)
    fetch([conda(site.address)], store, Sources(directories=(str(tmp_path),)))
    assert site.asked == []


def test_a_download_that_breaks_off_goes_on(site: Site, store: Store) -> None:
    site.files[PATH], site.drops[PATH] = DATA, [100_000, 50_000]
    fetch([conda(site.address)], store, Sources())
    assert site.asked[1] == (PATH, "bytes=100000-") and store.has(conda(site.address).digest)


def test_other_bytes_are_refused_with_both_hashes(site: Site, store: Store) -> None:
    site.files[PATH] = b"other"
    artifact = conda(site.address)
    with pytest.raises(InputError, match=rf"pkg:conda/thing.*{artifact.digest}.*received sha256:"):
        fetch([artifact], store, Sources())
    assert leftovers(store) == [] and not store.has(artifact.digest)


def test_a_channel_that_is_silent_is_named(store: Store, closed_port: str) -> None:
    with pytest.raises(UnavailableError, match=rf"the channel that the lock names: {closed_port}"):
        fetch([conda(closed_port)], store, Sources())
