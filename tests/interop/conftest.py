"""Real tools on loopback: a registry, cosign, and one small signed image in a store."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric import ec
from servers import docker_registry

from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.sign import sign_image
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.identity.bundle import SigningKey, public_pem
from reprise_trainer.identity.inventory import Inventory, LayerRecord, image_bytes, inventory_layer

ROOT = Path(__file__).parents[2]
ZSTD_LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"

Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class SignedImage:
    """An image in a store, tagged `small`, and the key that signed it."""

    store: Store
    digest: str
    signature: str
    key: ec.EllipticCurvePrivateKey


@pytest.fixture
def signed_image(tmp_path: Path) -> SignedImage:
    store = Store.open(tmp_path / "store")
    digest = put_image(store, "small")
    key = make_key()
    return SignedImage(store, digest, sign_image(store, digest, "small", key), key)


def put_image(store: Store, name: str, architecture: str = "amd64") -> str:
    """An image as the builder makes them, with one small zstd layer, tagged `name`."""
    tar = inventory_layer(name.encode() * 100)  # any canonical tar will do
    layer = zstandard.compress(tar)
    record = LayerRecord("base", ZSTD_LAYER, store.add(layer), len(layer), sha256_digest(tar), "sha256:" + "0" * 64)
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": "2023-06-10T00:00:00Z",
        "config": {"Entrypoint": ["/usr/bin/true"], "Labels": {"reprise.lock": "sha256:" + "1" * 64}},
    }
    image = image_bytes(Inventory((record,), config))
    store.add(image.inventory_layer)
    store.add(image.config)
    return store.put_manifest(image.manifest, tag=name)


@dataclass(frozen=True)
class Registry:
    """A running docker-registry, `host` as `127.0.0.1:<port>`; it has no referrers API."""

    host: str

    def push(self, store: Store, digest: str, repository: str) -> str:
        """Push an image and the artifacts that point at it; the image's reference."""
        return push(store, digest, parse_reference(f"{self.host}/{repository}")).reference


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as host:
        yield Registry(host)


@pytest.fixture(scope="session")
def docker(docker_daemon: str) -> Run:
    """`docker`, talking to the tests' daemon."""
    return runner("docker", env={**os.environ, "DOCKER_HOST": docker_daemon})


@pytest.fixture
def skopeo() -> Run:
    return runner("skopeo")


@pytest.fixture(scope="session")
def new_skopeo() -> Run:
    """The newest skopeo that Debian has; Debian 12's refuses every sigstore signature."""
    return runner(newer("skopeo", "sid", "--with-libraries"))


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Run]:
    """`podman`, with a storage of its own; it wants a short path for what it keeps while it runs."""
    with tempfile.TemporaryDirectory(prefix="podman-") as short:
        root = tmp_path / "podman"
        yield runner("podman", "--root", str(root), "--runroot", short, "--storage-driver", "overlay")
        if f" {root}/overlay " in Path("/proc/self/mounts").read_text():  # left mounted, perhaps on itself
            subprocess.run(["umount", str(root / "overlay")], check=True)
        shutil.rmtree(root, ignore_errors=True)  # a gigabyte


@pytest.fixture(scope="session")
def cosign(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """cosign 3, in a home of its own and with no way to the network but loopback that it would need."""
    return cosign_of("sid", tmp_path_factory)


@pytest.fixture(scope="session")
def cosign_2(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """cosign 2.5, which reads signatures of the older kind alone."""
    return cosign_of("trixie", tmp_path_factory)


def cosign_of(suite: str, folders: pytest.TempPathFactory) -> Run:
    home = folders.mktemp("cosign-home")
    return runner(newer("cosign", suite), env={"HOME": str(home), "PATH": "/usr/bin:/bin", "COSIGN_PASSWORD": ""})


@pytest.fixture(scope="session")
def oras(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return runner(newer("oras", "sid"), env={"HOME": str(tmp_path_factory.mktemp("oras-home")), "PATH": "/usr/bin"})


@pytest.fixture
def new_podman(tmp_path: Path) -> Iterator[Run]:
    """The newest podman that Debian has, with a home and a storage of its own."""
    with tempfile.TemporaryDirectory(prefix="podman-") as short:
        Path(short, "netavark").symlink_to("/bin/false")  # looked for by every command, run by none of ours
        configured = Path(short, "containers.conf")
        configured.write_text(f'[engine]\nhelper_binaries_dir = ["{short}"]\n')
        environment = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"], "CONTAINERS_CONF": str(configured)}
        places = ("--root", str(tmp_path / "podman"), "--runroot", short, "--storage-driver", "vfs")
        yield runner(newer("podman", "sid", "--with-libraries"), *places, env=environment)
        shutil.rmtree(tmp_path / "podman", ignore_errors=True)


def newer(package: str, suite: str, *options: str) -> str:
    """The program of a package of a later Debian."""
    script = [ROOT / "scripts/get-newer", *options, package, suite]
    done = subprocess.run(script, check=True, stdout=subprocess.PIPE, text=True)
    return f"{done.stdout.strip()}/{package}"


@pytest.fixture
def cosign_key_options(tmp_path: Path, signed_image: SignedImage) -> list[str]:
    """cosign's options for an own key, offline: an empty trust root, and no log entry asked for."""
    return key_options(tmp_path, signed_image.key)


def key_options(folder: Path, key: SigningKey) -> list[str]:
    public, root = folder / "key.pub", folder / "trusted-root.json"
    public.write_text(public_pem(key.public_key()))
    root.write_text('{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    return ["--key", str(public), "--trusted-root", str(root), "--insecure-ignore-tlog=true"]


def runner(*prefix: str, env: dict[str, str] | None = None) -> Run:
    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*prefix, *arguments], check=False, capture_output=True, text=True, env=env, timeout=120)
        assert done.returncode == 0 or not check, f"{prefix[0]} {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done

    return run
