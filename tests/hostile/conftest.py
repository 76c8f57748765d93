"""The plain build that every hostile one is compared with, made once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from hostile import SMALL, Outcome, Surroundings, build, stocked
from reprise.environments import fetch_environment
from reprise.store import Store

Same = Callable[[Outcome], None]


@pytest.fixture(scope="session")
def artifacts(shared_store: Store) -> Store:
    """A store that has the small environment's artifacts."""
    fetch_environment(SMALL, "small", shared_store)
    return shared_store


@pytest.fixture(scope="session")
def plain(artifacts: Store, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A build in no special surroundings."""
    work = tmp_path_factory.mktemp("plain")
    return build(work, stocked(work / "store", artifacts), Surroundings())


@pytest.fixture
def stock(artifacts: Store, tmp_path: Path) -> Store:
    """A store with artifacts, in which nothing has been built."""
    return stocked(tmp_path / "store", artifacts)


@pytest.fixture(scope="session")
def same(plain: Outcome) -> Same:
    """Fails unless a build gave the committed digest and, byte for byte on the disk, the plain build's image."""
    committed = (SMALL.lock_folder("small") / "environment.digest").read_text().strip()

    def check(outcome: Outcome) -> None:
        assert outcome.said["environment_digest"] == committed
        assert outcome.said["layers"] == plain.said["layers"]
        assert outcome.digest == plain.digest
        for descriptor in outcome.store.manifest(outcome.digest)["layers"]:
            data = outcome.store.path(descriptor["digest"]).read_bytes()
            assert f"sha256:{hashlib.sha256(data).hexdigest()}" == descriptor["digest"]

    return check
