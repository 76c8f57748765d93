"""containerd 2, the program, with the verifier that a policy was exported to: what it pulls, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import sign_image
from reprise_trainer.identity.policy import write_policy

from .conftest import newer, put_image, runner
from .test_indexes import MACHINES, make_index

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Site:
    """A containerd that asks the exported verifier; `verifier` is that program."""

    ctr: Any
    verifier: Path
    key: ec.EllipticCurvePrivateKey
    host: str
    store: Store

    def push(self, name: str, *, signed_by: ec.EllipticCurvePrivateKey | None) -> str:
        digest = put_image(self.store, name)
        if signed_by is not None:
            sign_image(self.store, digest, name, signed_by)
        push(self.store, digest, parse_reference(f"{self.host}/containerd/{name}:1"))
        return f"{self.host}/containerd/{name}:1"

    def pull(self, reference: str) -> subprocess.CompletedProcess[str]:
        done: subprocess.CompletedProcess[str] = self.ctr("images", "pull", "--plain-http", reference, check=False)
        return done

    def has(self, reference: str) -> bool:
        return reference in self.ctr("images", "ls", "-q").stdout.split()


@pytest.fixture(scope="module")
def site(registry: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, key = tmp_path_factory.mktemp("containerd"), make_key()
    policy, exported = folder / "mine.toml", folder / "exported"
    policy.write_text(write_policy(own_policy(key.public_key())))
    command = ["policy", "export", "--for", "containerd", "--output", str(exported), "--policy", str(policy)]
    subprocess.run([sys.executable, "-m", "reprise", *command], check=True, capture_output=True)
    with running(folder, exported / "config.toml") as ctr:
        yield Site(ctr, exported / "bin" / "reprise", key, registry.host, Store.open(folder / "store"))


@contextmanager
def running(folder: Path, exported: Path) -> Iterator[Any]:
    """A containerd with the exported lines in its configuration; gives `ctr`, which talks to it."""
    programs = Path(newer("containerd", "sid", "--with-libraries")).parent
    with tempfile.TemporaryDirectory(prefix="ctrd-") as short:  # a socket's path must be short
        config, log = folder / "config.toml", folder / "log"
        config.write_text(
            f'root = "{folder}/root"\nstate = "{short}/state"\nimports = ["{exported}"]\nversion = 3\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", '
            '"io.containerd.cri.v1.runtime", "io.containerd.nri.v1.nri"]\n'
            f'[grpc]\n  address = "{short}/sock"\n[ttrpc]\n  address = "{short}/ttrpc"\n'
        )
        with log.open("wb") as out:
            server = subprocess.Popen([programs / "containerd", "-c", config], stdout=out, stderr=out)
        ctr = runner(str(programs / "ctr"), "-a", f"{short}/sock")
        try:
            for _ in range(300):
                if ctr("version", check=False).returncode == 0:
                    break
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
            yield ctr
        finally:
            server.terminate()
            server.wait(30)


def test_a_signed_image_is_pulled(site: Site) -> None:
    reference = site.push("signed", signed_by=site.key)
    done = site.pull(reference)
    assert done.returncode == 0, done.stderr
    assert site.has(reference)


@pytest.mark.parametrize("stranger", [False, True])
def test_an_unsigned_or_strangely_signed_image_is_not(site: Site, stranger: bool) -> None:
    reference = site.push(f"refused-{stranger}".lower(), signed_by=make_key() if stranger else None)
    done = site.pull(reference)
    assert done.returncode != 0 and "reprise: the policy does not hold" in done.stderr
    assert not site.has(reference)


def test_an_index_is_pulled_when_it_or_all_its_images_are_signed(site: Site, oras: Any, tmp_path: Path) -> None:
    index = make_index(site.host, "containerd", oras, tmp_path)
    assert "does not hold" in site.pull(index.at()).stderr
    sign_image(index.store, index.images[MACHINES[0]], "small", site.key)
    index.push()
    assert "does not hold" in site.pull(index.at()).stderr
    sign_image(index.store, index.images[MACHINES[1]], "small", site.key)
    index.push()
    assert site.pull(index.at()).returncode == 0
    alone = make_index(site.host, "containerd-index-alone", oras, tmp_path / "alone")
    sign_image(alone.store, alone.digest, "small", site.key)
    alone.push()
    assert site.pull(alone.at()).returncode == 0


def test_a_policy_that_cannot_be_read_lets_nothing_in(site: Site) -> None:
    assert list(site.verifier.parent.iterdir()) == [site.verifier]
    assert site.verifier.stat().st_mode & 0o777 == 0o755
    policy = site.verifier.parents[1] / "policy.toml"
    kept = policy.read_text()
    reference = site.push("broken-policy", signed_by=site.key)
    policy.write_text("not TOML [")
    try:
        assert site.pull(reference).returncode != 0
    finally:
        policy.write_text(kept)
